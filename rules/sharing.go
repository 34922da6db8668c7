package rules

// This file lets equal objects be one, without keeping alive what nobody uses.

import (
	"runtime"
	"sync"
	"weak"
)

// sharing is a set of objects that are in use somewhere, by their identity. The
// zero value is empty. It is safe for concurrent use.
type sharing[T any] struct {
	mu   sync.Mutex
	held map[identity]weak.Pointer[T]
}

// share returns the object with this identity that others hold already, or makes
// obj that one.
func (s *sharing[T]) share(id identity, obj *T) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.held[id].Value(); held != nil {
		return held
	}
	if s.held == nil {
		s.held = map[identity]weak.Pointer[T]{}
	}
	s.held[id] = weak.Make(obj)
	runtime.AddCleanup(obj, s.forget, id)
	return obj
}

// forget drops the entry of an object that nobody holds any more.
func (s *sharing[T]) forget(id identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[id].Value() == nil { // else an equal one has taken its place
		delete(s.held, id)
	}
}
