package app

// What becomes of the stages when Redis may have lost its last writes.
//
// A Redis that restarts or fails over answers again before it is safe. The store then refuses it ([state.ErrOtherServer]), and the stages that save there give their partitions up; when the last of them
// has, nothing of what was read before is in anyone's hands, and the new server is accepted. The stages take their partitions again and begin where all was safe (package stream, rewind.go): accounts first,
// then rooms and users, which must not read an older ruleset, and keep it, before the newer one is written again.

import (
	"context"
	"sync"
	"time"

	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
)

// memory tells the stages' consumers where they save what they do.
type memory struct {
	store *state.Store
	whole pipeline.Whole
	gate  *pipeline.AccountsGate

	mu     sync.Mutex
	passed string // name of the servers to which the accounts stage has written all again; "" if it is not known to have
	open   bool   // it has
}

// name names the servers that Redis consists of. Nil as an error says that they answer and hold what they held.
func (m *memory) name(ctx context.Context) (string, error) {
	name, err := m.store.Identity(ctx)
	if err == nil {
		err = m.whole(ctx)
	}
	return name, err
}

// afterAccounts is the same for stages that read accounts: it waits until they are as new as they were.
func (m *memory) afterAccounts(ctx context.Context) (string, error) {
	for {
		name, err := m.name(ctx)
		if err != nil {
			return "", err
		}
		m.mu.Lock()
		passed := m.open && m.passed == name
		m.mu.Unlock()
		if passed {
			return name, nil
		}
		ends, err := m.gate.Bounds(ctx)
		if err != nil {
			return "", err
		}
		if err := m.gate.Wait(ctx, ends); err != nil {
			return "", err
		}
		if again, err := m.name(ctx); err == nil && again == name {
			m.pass(name)
		}
	}
}

func (m *memory) pass(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed, m.open = name, true
}

func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = false
}

// remembering makes a consumer read again what Redis may have lost.
func (w *Worker) remembering(cfg stream.ConsumerConfig, memory func(context.Context) (string, error)) stream.ConsumerConfig {
	if w.cfg.Redis.Rewind > 0 {
		cfg.Memory, cfg.Rewind = memory, w.cfg.Redis.Rewind
	}
	return cfg
}

// watchServers makes the stages begin again each time that Redis has become another server.
func (w *Worker) watchServers(ctx context.Context, m *memory) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.store.Changed():
		}
		began := time.Now()
		w.log.Warn("redis answers as another process than before: it has restarted or failed over and may lack its last writes. The stages stop and do again what they did lately", "rewind", w.cfg.Redis.Rewind)
		m.forget()
		for _, drained := range w.restartKeepers() {
			select {
			case <-drained:
			case <-ctx.Done():
				return nil
			}
		}
		for told := false; ; {
			err := w.store.Accept(ctx)
			if err == nil {
				break
			}
			if !told {
				w.log.Warn("redis can't be used yet: trying again", "error", err)
				told = true
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
		w.log.Info("the stages go on with redis as it is now", "stopped_for", time.Since(began).Round(time.Millisecond))
	}
}

// restartKeepers makes all consumers whose work is saved in Redis give their partitions up.
func (w *Worker) restartKeepers() (drained []<-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.consumers {
		if c.keeps {
			drained = append(drained, c.Restart(state.ErrOtherServer))
		}
	}
	return drained
}
