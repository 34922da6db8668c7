package credential

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

// TestWatch has files replaced in the ways of people and of Kubernetes.
func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir, elsewhere := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) { t.Helper(); must(os.WriteFile(name, []byte(text), 0o600)) }
	mount := func(name, text string) {
		t.Helper()
		must(os.Mkdir(filepath.Join(dir, name), 0o700))
		write(filepath.Join(dir, name, "key"), text)
		must(os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	mount("..1", "of yesterday")
	key, certificate := filepath.Join(dir, "key"), filepath.Join(elsewhere, "certificate")
	must(os.Symlink("..data/key", key))
	write(certificate, "certificate")
	seen := make(chan string, 100)
	w := Watch([]string{key, certificate}, func() error {
		first, err := os.ReadFile(key)
		second, err2 := os.ReadFile(certificate)
		seen <- string(first) + " " + string(second)
		return errors.Join(err, err2)
	}, slog.New(slog.DiscardHandler))
	defer w.Stop()
	until := func(want string) {
		t.Helper()
		late := time.After(10 * time.Second)
		for {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-late:
				t.Fatalf("not in 10 s: %s", want)
			}
		}
	}
	until("of yesterday certificate")
	mount("..2", "mounted")
	until("mounted certificate")
	write(certificate, "written over")
	until("mounted written over")
	write(certificate+".new", "renamed over")
	must(os.Rename(certificate+".new", certificate))
	until("mounted renamed over")
	must(os.Remove(certificate))
	until("mounted ")
	write(certificate, "there again")
	until("mounted there again")
}

// A directory that can't be watched is no reason to stop: its files are read each minute.
func TestWatchNeedsNoSigns(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var said bytes.Buffer
	looked := make(chan struct{}, 1)
	w := Watch([]string{filepath.Join(t.TempDir(), "nowhere", "key")}, func() error { looked <- struct{}{}; return nil }, slog.New(slog.NewTextHandler(&said, nil)))
	<-looked
	w.Stop()
	w.Stop() // once more does no harm
	if strings.Count(said.String(), "can't be watched: new ones are found within a minute") != 1 {
		t.Errorf("said\n%s", &said)
	}
}

// inTime runs a Watcher in virtual time, with signs that the test gives.
func inTime(t *testing.T, changed func() error, log *slog.Logger, test func(w *Watcher, signs chan fsnotify.Event, lost chan error)) {
	synctest.Test(t, func(t *testing.T) {
		w := &Watcher{changed: changed, log: log, over: make(chan struct{})}
		signs, lost := make(chan fsnotify.Event), make(chan error)
		w.running.Go(func() { w.run(signs, lost) })
		synctest.Wait()
		test(w, signs, lost)
		w.Stop()
	})
}

func TestWatchLooksInTime(t *testing.T) {
	t.Parallel()
	var looks atomic.Int32
	inTime(t, func() error { looks.Add(1); return nil }, slog.New(slog.DiscardHandler), func(_ *Watcher, signs chan fsnotify.Event, lost chan error) {
		after := func(what string, wait time.Duration, want int32) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if got := looks.Load(); got != want {
				t.Errorf("%s: %d looks, want %d", what, got, want)
			}
		}
		after("at once", 0, 1)
		after("nothing happens", lookAgain-1, 1)
		after("for a minute", 1, 2)
		signs <- fsnotify.Event{}
		after("a change", settling-1, 2)
		after("that has settled", 1, 3)
		lost <- fsnotify.ErrEventOverflow
		after("lost signs", settling, 4)
		for range 20 { // many changes don't put it off
			signs <- fsnotify.Event{}
			time.Sleep(settling / 4)
		}
		after("many changes", settling, 8+1)
		after("a minute after them", lookAgain-settling, 10)
	})
}

// What is wrong is told when that changes, and however often it is seen.
func TestWatchTellsTroubleOnce(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	var trouble error
	inTime(t, func() error { return trouble }, slog.New(slog.NewTextHandler(&said, nil)), func(_ *Watcher, signs chan fsnotify.Event, _ chan error) {
		for i, tc := range []struct {
			trouble error
			want    int
		}{{nil, 0}, {errors.New("no key"), 1}, {errors.New("no key"), 1}, {errors.New("no file"), 2}, {nil, 2}, {errors.New("no file"), 3}} {
			trouble = tc.trouble
			signs <- fsnotify.Event{}
			time.Sleep(10 * lookAgain)
			synctest.Wait()
			if got := strings.Count(said.String(), "new credentials can't be used: the old ones stay in use"); got != tc.want {
				t.Errorf("%d: told %d times, want %d\n%s", i, got, tc.want, &said)
			}
		}
	})
	if strings.Count(said.String(), `error="no key"`) != 1 || strings.Count(said.String(), `error="no file"`) != 2 {
		t.Errorf("said\n%s", &said)
	}
}

func TestStopWaits(t *testing.T) {
	t.Parallel()
	var ended atomic.Bool
	inTime(t, func() error { time.Sleep(time.Second); ended.Store(true); return nil }, slog.New(slog.DiscardHandler), func(w *Watcher, _ chan fsnotify.Event, _ chan error) {
		if ended.Load() {
			t.Error("it did not begin at once")
		}
		w.Stop()
		if !ended.Load() {
			t.Error("it did not wait")
		}
	})
}
