package credential

// Files that are replaced while they are in use.

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settling is how long a change is given to come to its end: files are written in parts, and certificates come with their keys.
	settling = 200 * time.Millisecond
	// lookAgain is how often the files are read without a sign of a change: not every file system gives one, and not every change happens in the directory of the file.
	lookAgain = time.Minute
)

// Watcher has files read again when they may have changed: see [Watch].
type Watcher struct {
	changed func() error
	log     *slog.Logger
	trouble string // what was last wrong, so that it is told once
	over    chan struct{}
	end     sync.Once
	running sync.WaitGroup
}

// Watch calls changed once at once, as the files may have changed since they were read, then soon after each sign that one of them has changed, and once a minute in any
// case; never twice at the same time. An error of it says why what the files hold now can't be used, and that what was read before stays in use: the log hears of it, once
// until it is another one.
//
// It is the directories of the files that are watched: secrets are replaced by renaming, and mounted ones by another directory behind a link. Where that can't be done the
// log hears of it, and once a minute has to do. Stop it when the files are not used any more.
func Watch(files []string, changed func() error, log *slog.Logger) *Watcher {
	w := &Watcher{changed: changed, log: log, over: make(chan struct{})}
	signs, err := watchDirectories(files)
	if err != nil {
		log.Warn("the files of credentials can't be watched: new ones are found within a minute", "error", err)
	}
	w.running.Go(func() {
		if signs == nil {
			w.run(nil, nil)
			return
		}
		defer signs.Close()
		w.run(signs.Events, signs.Errors)
	})
	return w
}

// watchDirectories watches as many of them as it can; nil if none.
func watchDirectories(files []string) (*fsnotify.Watcher, error) {
	signs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, file := range files {
		errs = append(errs, signs.Add(filepath.Dir(file)))
	}
	return signs, errors.Join(errs...)
}

// run looks at the files until it is over. Signs may be lost, which is one, too.
func (w *Watcher) run(signs <-chan fsnotify.Event, lost <-chan error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := true // it is due after a change; later ones don't put it off
	for {
		select {
		case <-signs:
		case <-lost:
		case <-timer.C:
			w.look()
			timer.Reset(lookAgain)
			soon = false
			continue
		case <-w.over:
			return
		}
		if !soon {
			timer.Reset(settling)
			soon = true
		}
	}
}

// look tells what is wrong when that changes.
func (w *Watcher) look() {
	trouble := ""
	if err := w.changed(); err != nil {
		trouble = err.Error()
	}
	if trouble != "" && trouble != w.trouble {
		w.log.Error("new credentials can't be used: the old ones stay in use", "error", trouble)
	}
	w.trouble = trouble
}

// Stop ends the watching, and waits until it has ended. It may be called more than once, but not by what Watch calls.
func (w *Watcher) Stop() {
	w.end.Do(func() { close(w.over) })
	w.running.Wait()
}
