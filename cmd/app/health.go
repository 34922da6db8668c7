package app

// The admin address: is the worker alive, does it work, and what has it done?

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serveAdmin answers /healthz (the process is alive), /readyz (every stage has its partitions, Redis and Kafka answer) and /metrics until ctx ends.
func (w *Worker) serveAdmin(ctx context.Context) error {
	if w.cfg.Admin.Listen == "" {
		return nil
	}
	listener, err := net.Listen("tcp", w.cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "alive") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) {
		if err := w.reachable(r.Context()); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ready")
	})
	mux.Handle("GET /metrics", w.telemetry)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	w.admin.Store(listener.Addr().String())
	w.log.Info("health and metrics are served", "address", listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("admin address: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(stop) != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin address: %w", err)
	}
	return nil
}

// AdminAddress is where health and metrics are served (host:port); empty as long as they are not. admin.listen may leave the port to the system (0).
func (w *Worker) AdminAddress() string {
	address, _ := w.admin.Load().(string)
	return address
}

// reachable is nil if every stage works and can go on working; else it names all that is in the way.
func (w *Worker) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	errs := []error{w.Ready()}
	if err := w.store.Ping(ctx); err != nil {
		errs = append(errs, err)
	}
	if _, err := w.cluster.Topics(ctx, w.cfg.Topics.Notifications); err != nil {
		errs = append(errs, fmt.Errorf("kafka: %w", err))
	}
	return errors.Join(errs...)
}
