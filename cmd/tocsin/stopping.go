package main

// How the operator's wish to end reaches the command: SIGTERM or SIGINT once for a clean stop, twice for one at once.

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// patience is how long a command that is to end at once may still take.
const patience = 3 * time.Second

// stopping is the operator's wish. clean ends with the first signal and hard with the second.
type stopping struct {
	clean, hard context.Context
	release     func() // no more signals are heard; waits for the goroutine that did
}

// listen hears signals from now on. A command that has not ended [patience] after the second is ended by exit.
func listen(stderr io.Writer, exit func(int)) stopping {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	s := heed(signals, stderr, exit)
	release := s.release
	s.release = func() {
		signal.Stop(signals)
		release()
	}
	return s
}

// heed makes contexts of signals.
func heed(signals <-chan os.Signal, stderr io.Writer, exit func(int)) stopping {
	clean, stopClean := context.WithCancel(context.Background())
	hard, stopHard := context.WithCancel(context.Background())
	released := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		defer stopHard()
		defer stopClean()
		select {
		case s := <-signals:
			fmt.Fprintf(stderr, "tocsin: %v: stopping; once more to stop at once\n", s)
			stopClean()
		case <-released:
			return
		}
		select {
		case s := <-signals:
			fmt.Fprintf(stderr, "tocsin: %v again: stopping at once\n", s)
			stopHard()
		case <-released:
			return
		}
		select {
		case <-time.After(patience):
			exit(failed)
		case <-released:
		}
	})
	return stopping{clean: clean, hard: hard, release: func() {
		close(released)
		done.Wait()
	}}
}
