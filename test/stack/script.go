package stack

// What the fakes are told to answer, and whom they tell of what they were asked.

import "sync"

// script is a queue of answers, each for so many requests. It is safe for concurrent use.
type script[A any] struct {
	mu    sync.Mutex
	turns []turn[A]
}

type turn[A any] struct {
	answer A
	times  int // that it is still to be given
}

// add queues answers behind those that are waiting already. times says for how many requests each is; 0 is one.
func (s *script[A]) add(answers []A, times func(A) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range answers {
		s.turns = append(s.turns, turn[A]{a, max(times(a), 1)})
	}
}

// next takes the next answer off the script.
func (s *script[A]) next() (answer A, ok bool) {
	return s.nextFor(func(A) bool { return true })
}

// nextFor takes the next answer off the script that is for a request.
func (s *script[A]) nextFor(fits func(A) bool) (answer A, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.turns {
		t := &s.turns[i]
		if !fits(t.answer) {
			continue
		}
		answer = t.answer
		if t.times--; t.times == 0 {
			s.turns = append(s.turns[:i], s.turns[i+1:]...)
		}
		return answer, true
	}
	return answer, false
}

// waiting is how many answers have not been given yet.
func (s *script[A]) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range s.turns {
		n += t.times
	}
	return n
}

// observer is told of one thing after another, by however many at once.
type observer[T any] struct {
	mu      sync.Mutex
	observe func(T) // nil: nobody listens
}

func (o *observer[T]) tell(what T) {
	if o.observe == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.observe(what)
}
