package pipeline

// Records that can't be used.

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"tocsin/pipeline/stream"
)

// undertaker buries records that can't be used, or deliveries that were given up.
type undertaker interface {
	Bury(ctx context.Context, rec *stream.Record, cause stream.Cause) error
}

// bury sends a record that can't be used to the dead letter, and says so.
func bury(ctx context.Context, to undertaker, rec *stream.Record, stage string, why error, log *slog.Logger) error {
	u := &Unreadable{Reason: "unreadable", Err: why}
	if !errors.As(why, &u) {
		return why
	}
	log.Warn("record can't be used: it goes to the dead letter", "stage", stage, "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset,
		"reason", u.Reason, "error", strings.ToValidUTF8(u.Err.Error(), "?"))
	return to.Bury(ctx, rec, stream.Cause{Stage: stage, Reason: u.Reason, Detail: u.Err.Error()})
}

// unreadables are records that are to be buried when everything else is done.
type unreadables []struct {
	rec *stream.Record
	why error
}

func (u *unreadables) add(rec *stream.Record, why error) {
	*u = append(*u, struct {
		rec *stream.Record
		why error
	}{rec, why})
}

func (u unreadables) bury(ctx context.Context, to undertaker, stage string, log *slog.Logger) error {
	for _, bad := range u {
		if err := bury(ctx, to, bad.rec, stage, bad.why, log); err != nil {
			return err
		}
	}
	return nil
}
