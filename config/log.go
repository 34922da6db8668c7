package config

// The section log: what the process says of itself.

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Log is how the process logs.
type Log struct {
	Level  string `yaml:"level" doc:"least level that is logged: debug, info, warn or error"`
	Format string `yaml:"format" doc:"text for people (logfmt), or json: one object a line"`
}

// Validate reports unknown words.
func (l Log) Validate() error {
	var errs []error
	if _, ok := levels[l.Level]; !ok {
		errs = append(errs, fmt.Errorf("level: %q is none of debug, info, warn, error", l.Level))
	}
	if l.Format != "text" && l.Format != "json" {
		errs = append(errs, fmt.Errorf("format: %q is neither text nor json", l.Format))
	}
	return errors.Join(errs...)
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// New is the logger of a valid section, writing to w.
func (l Log) New(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: levels[l.Level]}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
