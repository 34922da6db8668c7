package apns

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/test/stack"
)

// crowd sends that many at once, and returns what came of each.
func crowd(t testing.TB, s *Sender, n int) []pushers.Outcome {
	t.Helper()
	outcomes := make([]pushers.Outcome, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { outcomes[i] = s.Send(t.Context(), numbered(i)) })
	}
	wg.Wait()
	return outcomes
}

func allDelivered(t testing.TB, outcomes []pushers.Outcome) {
	t.Helper()
	for i, o := range outcomes {
		if o.Verdict != pushers.Delivered {
			t.Fatalf("push %d: %+v", i, o)
		}
	}
}

// A crowd at the start takes one connection, which is asked for one thing until it has accepted a credential, and then for no more at once than it allows.
func TestOneConnectionForACrowd(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{Streams: 20})
	s := b.sender(t, Options{})
	allDelivered(t, crowd(t, s, 300))
	allDelivered(t, crowd(t, s, 300))
	if made, refused := b.apns.Connections(), b.apns.RefusedStreams(); made != 1 || refused != 0 {
		t.Errorf("%d connections, %d streams too many", made, refused)
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	b.cfg.Connections = 3
	s := b.sender(t, Options{})
	allDelivered(t, crowd(t, s, 100))
	used := map[int]int{}
	for _, p := range b.received() {
		used[p.Connection]++
	}
	if len(used) != 3 || b.apns.Connections() != 3 || used[1] < 20 || used[2] < 20 || used[3] < 20 {
		t.Errorf("pushes by connection: %v", used)
	}
}

// Connections that the service ends in the orderly way cost nothing: what it did not take goes over another one at once.
func TestGoAwayUnderLoad(t *testing.T) {
	t.Parallel()
	var taken atomic.Int64
	b := newBed(t, stack.APNsOptions{Observe: func(p stack.APNsPush) {
		if p.Taken {
			taken.Add(1)
		}
	}, Answer: func(stack.APNsPush) stack.APNsAnswer { return stack.APNsAnswer{Delay: time.Millisecond} }})
	s := b.sender(t, Options{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(30 * time.Millisecond):
				b.apns.GoAway()
			}
		}
	})
	sent := int64(0)
	for began := time.Now(); time.Since(began) < time.Second; sent += 100 {
		for _, o := range crowd(t, s, 100) {
			if o.Verdict != pushers.Delivered && o.Reason != "goaway" && o.Reason != "unsent" {
				t.Errorf("got %+v", o)
			}
		}
	}
	close(stop)
	wg.Wait()
	if b.apns.Connections() < 3 {
		t.Errorf("only %d connections were made", b.apns.Connections())
	}
	if got := taken.Load(); got > sent {
		t.Errorf("%d pushes were taken of %d", got, sent)
	}
}

// A connection that has died without a word costs one time-out, not one each.
func TestDeafConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	b.cfg.Timeout = 4 * time.Second
	s := b.sender(t, Options{})
	allDelivered(t, crowd(t, s, 10))
	b.apns.Script(stack.APNsAnswer{Fault: stack.APNsDeaf})
	if got := s.Send(t.Context(), numbered(1)); got.Verdict != pushers.Uncertain {
		t.Fatalf("got %+v", got)
	}
	began := time.Now()
	allDelivered(t, crowd(t, s, 10))
	if took := time.Since(began); took > 3*time.Second || b.apns.Connections() != 2 {
		t.Errorf("it took %v, %d connections", took, b.apns.Connections())
	}
}

// frames follows frames however they are cut into reads.
func TestFrames(t *testing.T) {
	t.Parallel()
	frame := func(kind byte, payload string) string {
		return string([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, 0, 0, 0, 0, 1}) + payload
	}
	stream := frame(4, "") + frame(0, "data that looks like \x00\x00\x08\x07") + frame(typeGoAway, "\x00\x00\x00\x07\x00\x00\x00\x01"+`{"reason":"BadCertificateEnvironment"}`) + frame(6, "12345678")
	for size := 1; size < len(stream); size++ {
		f := watch(nil)
		for rest := []byte(stream); len(rest) > 0; {
			n := min(size, len(rest))
			f.see(rest[:n])
			rest = rest[n:]
		}
		if got := f.goAway.Load(); got == nil || got.reason != "BadCertificateEnvironment" {
			t.Fatalf("in pieces of %d: %+v", size, got)
		}
		select {
		case <-f.answered:
			t.Fatal("there was no answer")
		default:
		}
		f.see([]byte(frame(typeHeaders, "x")))
		select {
		case <-f.answered:
		default:
			t.Fatal("an answer was not seen")
		}
	}
	if got := readGoAway([]byte("\x00\x00\x00\x07\x00\x00\x00\x01too_many_pings")); got.reason != "" {
		t.Errorf("a reason in other words: %+v", got)
	}
}
