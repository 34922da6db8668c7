package apns

// Files that are replaced while they are in use.

import (
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settling is how long a change is given to come to its end: files are written in parts, and certificates come with their keys.
	settling = 200 * time.Millisecond
	// lookAgain is how often the files are read without a sign of a change, for file systems that give none.
	lookAgain = time.Minute
)

// watching calls changed when files may have changed.
type watching struct {
	changed func() error
	log     *slog.Logger
	notify  *fsnotify.Watcher // nil: there is none
	over    chan struct{}
	running sync.WaitGroup
	trouble string // what was last wrong, so that it is told once
}

// watchFiles begins to watch the directories of files, not the files: mounted secrets are replaced by another directory behind a link.
func watchFiles(files []string, changed func() error, log *slog.Logger) *watching {
	w := &watching{changed: changed, log: log, over: make(chan struct{})}
	var err error
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		w.notify = nil
	}
	for _, file := range files {
		if err == nil {
			err = w.notify.Add(filepath.Dir(file))
		}
	}
	if err != nil {
		log.Warn("credentials can't be watched: new ones are found within a minute", "error", err)
	}
	w.running.Go(w.run)
	return w
}

func (w *watching) run() {
	var events chan fsnotify.Event
	var errors chan error
	if w.notify != nil {
		events, errors = w.notify.Events, w.notify.Errors
	}
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	soon := false // it is due after a change; later ones don't put it off
	for {
		select {
		case <-events:
		case <-errors: // events were lost
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
func (w *watching) look() {
	trouble := ""
	if err := w.changed(); err != nil {
		trouble = err.Error()
	}
	if trouble != "" && trouble != w.trouble {
		w.log.Error("new credentials for APNs can't be used: the old ones stay in use", "error", trouble)
	}
	w.trouble = trouble
}

// stop ends the watching, and waits until it has ended.
func (w *watching) stop() {
	close(w.over)
	w.running.Wait()
	if w.notify != nil {
		w.notify.Close()
	}
}
