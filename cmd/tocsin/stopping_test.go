package main

import (
	"bytes"
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// The first signal asks for a clean stop, the second for one at once, and whoever is still there after that is ended.
func TestSignals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		exits := make(chan int, 1)
		var said bytes.Buffer
		s := heed(signals, &said, func(status int) { exits <- status })
		state := func() [2]bool {
			synctest.Wait()
			return [2]bool{s.clean.Err() != nil, s.hard.Err() != nil}
		}
		if got := state(); got != [2]bool{false, false} {
			t.Errorf("at first: %v", got)
		}
		signals <- syscall.SIGTERM
		if got := state(); got != [2]bool{true, false} {
			t.Errorf("after one signal: %v", got)
		}
		signals <- syscall.SIGINT
		if got := state(); got != [2]bool{true, true} {
			t.Errorf("after two signals: %v", got)
		}
		start := time.Now()
		if status := <-exits; status != failed || time.Since(start) != patience {
			t.Errorf("ended with %d after %v", status, time.Since(start))
		}
		s.release()
		want := "tocsin: terminated: stopping; once more to stop at once\ntocsin: interrupt again: stopping at once\n"
		if said.String() != want {
			t.Errorf("said %q", said.String())
		}
	})
}

// A command that ends by itself, after none, one or two signals, is not ended from outside.
func TestRelease(t *testing.T) {
	t.Parallel()
	for n := range 3 {
		synctest.Test(t, func(t *testing.T) {
			signals := make(chan os.Signal, 2)
			var said bytes.Buffer
			s := heed(signals, &said, func(int) { t.Error("ended from outside") })
			for range n {
				signals <- syscall.SIGTERM
			}
			synctest.Wait()
			if got := status(nil, s.hard); (got == failed) != (n == 2) {
				t.Errorf("after %d signals the status is %d", n, got)
			}
			s.release()
			time.Sleep(time.Hour)
			if s.clean.Err() == nil || s.hard.Err() == nil {
				t.Error("released, and its contexts go on")
			}
		})
	}
}

// Signals of the operating system arrive.
func TestListen(t *testing.T) {
	s := listen(&bytes.Buffer{}, func(int) { t.Error("ended from outside") })
	defer s.release()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.clean.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("no signal arrived")
	}
	if s.hard.Err() != nil {
		t.Error("one signal counted as two")
	}
}

// Misuse is told from failure, and a stop at once from a clean one.
func TestStatus(t *testing.T) {
	t.Parallel()
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tc := range []struct {
		name string
		err  error
		hard context.Context
		want int
	}{
		{"well", nil, context.Background(), succeeded},
		{"failed", context.DeadlineExceeded, context.Background(), failed},
		{"cut short", nil, cut, failed},
		{"misused", misuse(context.Canceled), context.Background(), misused},
	} {
		if got := status(tc.err, tc.hard); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}
