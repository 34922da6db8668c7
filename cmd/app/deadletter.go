package app

// What became of what could not be delivered or read: the dead letters, listed, shown and replayed.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// ErrUsage is wrapped by errors about what was asked for: it can't be done, whatever the servers say.
var ErrUsage = errors.New("that can't be")

// DeadLetterOptions say which dead letters are meant.
type DeadLetterOptions struct {
	Reasons, Stages, Topics []string
	App                     string    // glob; "": all, and what is no delivery too
	Since, Until            time.Time // of burial
	Limit                   int       // so many at most, the oldest; 0: all
	JSON                    bool      // list: JSON lines
}

// A letter's Kafka time is that of its burial, or later while Kafka was away, on another machine's clock: what is looked for by its burial is read from so long before to so long after.
const burialSlack = time.Hour

// errEnough ends a scan.
var errEnough = errors.New("enough")

// letters is the dead-letter topic for one command.
type letters struct {
	cfg     *config.Config
	cluster *stream.Cluster
	opts    DeadLetterOptions
	filter  pipeline.DeadLetterFilter
	found   int
	stderr  io.Writer
	told    time.Time
}

// openLetters connects, and checks that the topic is there.
func openLetters(ctx context.Context, cfg *config.Config, opts DeadLetterOptions, stderr io.Writer) (*letters, error) {
	l := &letters{cfg: cfg, opts: opts, stderr: stderr, filter: pipeline.DeadLetterFilter{Reasons: opts.Reasons, Stages: opts.Stages, Topics: opts.Topics, Since: opts.Since, Until: opts.Until}}
	var err error
	if opts.App != "" {
		if l.filter.Apps, err = pushers.CompileApps(opts.App); err != nil {
			return nil, fmt.Errorf("%w: --app: %w", ErrUsage, err)
		}
	}
	if l.cluster, err = quietKafka(cfg); err != nil {
		return nil, err
	}
	if _, err := l.cluster.Topics(ctx, cfg.Topics.DeadLetter); err != nil {
		l.cluster.Close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return l, nil
}

// each calls do with the letters that are meant, oldest first. Before that it calls passed with the place behind each record, also those that are not meant.
func (l *letters) each(ctx context.Context, from map[int]int64, passed func(partition int, next int64), do func(*pipeline.DeadLetter) error) error {
	scan := stream.ScanConfig{Topic: l.cfg.Topics.DeadLetter, From: from, Progress: l.progress}
	if !l.opts.Since.IsZero() {
		scan.Since = l.opts.Since.Add(-burialSlack)
	}
	if !l.opts.Until.IsZero() {
		scan.Until = l.opts.Until.Add(burialSlack)
	}
	scan.Record = func(rec *stream.Record) error {
		d := pipeline.ReadDeadLetter(rec)
		meant := l.filter.Matches(d)
		if meant && l.opts.Limit > 0 && l.found >= l.opts.Limit {
			return errEnough
		}
		passed(rec.Partition, rec.Offset+1)
		if !meant {
			return nil
		}
		l.found++
		return do(d)
	}
	err := l.cluster.Scan(ctx, scan)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// progress tells how far it is, each second and at the end.
func (l *letters) progress(p stream.ScanProgress) {
	over := p.Done == p.Partitions
	if now := time.Now(); over || now.Sub(l.told) >= time.Second {
		l.told = now
		fmt.Fprintf(l.stderr, "%s: %d of %d records, %d of %d partitions read, %d found\n", l.cfg.Topics.DeadLetter, p.Offsets, p.Total, p.Done, p.Partitions, l.found)
	}
}

// ListDeadLetters writes a line for each letter: nothing in it is secret, and nothing is content. How far it is goes to stderr.
func ListDeadLetters(ctx context.Context, cfg *config.Config, opts DeadLetterOptions, stdout, stderr io.Writer) error {
	l, err := openLetters(ctx, cfg, opts, stderr)
	if err != nil {
		return err
	}
	defer l.cluster.Close()
	return l.each(ctx, nil, func(int, int64) {}, func(d *pipeline.DeadLetter) error {
		line := letterLine(d)
		if opts.JSON {
			b, err := letterJSON(d)
			if err != nil {
				return err
			}
			line = string(b)
		}
		_, err := fmt.Fprintln(stdout, line)
		return err
	})
}

// letterLine is a letter in one line for people.
func letterLine(d *pipeline.DeadLetter) string {
	fields := []string{
		d.ID(), d.Buried.Format(time.RFC3339), plain(d.Stage), plain(d.Reason), fmt.Sprintf("%s/%d@%d", plain(d.Origin.Topic), d.Origin.Partition, d.Origin.Offset),
	}
	if v := d.Delivery; v != nil {
		fields = append(fields, "app="+plain(v.AppID), v.Pushkey.String(), "attempts="+strconv.Itoa(d.Attempts))
	}
	if d.CutFrom >= 0 {
		fields = append(fields, "cut_from="+strconv.Itoa(d.CutFrom))
	}
	return strings.Join(append(fields, strconv.QuoteToGraphic(d.Detail)), "  ")
}

// plain is a text that can do nothing to a terminal or a column, quoted if need be.
func plain(s string) string {
	odd := func(r rune) bool { return r == utf8.RuneError || r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if s == "" || strings.ContainsFunc(s, odd) {
		return strconv.QuoteToGraphic(s)
	}
	return s
}

// letterJSON is the same for machines.
func letterJSON(d *pipeline.DeadLetter) ([]byte, error) {
	type delivery struct {
		ID      string `json:"delivery_id"`
		UserID  string `json:"user_id"`
		RoomID  string `json:"room_id"`
		EventID string `json:"event_id,omitzero"`
		AppID   string `json:"app_id"`
		Pushkey string `json:"pushkey"` // its hash
	}
	line := struct {
		ID       string          `json:"id"`
		Buried   time.Time       `json:"time"`
		Stage    string          `json:"stage"`
		Reason   string          `json:"reason"`
		Detail   string          `json:"detail"`
		Attempts int             `json:"attempts"`
		Origin   pipeline.Origin `json:"origin"`
		Bytes    int             `json:"bytes"`
		CutFrom  int             `json:"cut_from,omitzero"`
		Delivery *delivery       `json:"delivery,omitzero"`
	}{ID: d.ID(), Buried: d.Buried, Stage: d.Stage, Reason: d.Reason, Detail: d.Detail, Attempts: d.Attempts, Origin: d.Origin, Bytes: d.Size, CutFrom: max(d.CutFrom, 0)}
	if v := d.Delivery; v != nil {
		line.Delivery = &delivery{v.ID, v.UserID, v.RoomID, v.EventID, v.AppID, v.Pushkey.String()}
	}
	return json.Marshal(line, jsontext.AllowInvalidUTF8(true))
}

// ShowOptions say how much of a dead letter is shown.
type ShowOptions struct {
	Value  bool // content too; pushkeys are hidden
	Reveal bool // the bytes as they are, and nothing else
}

// ShowDeadLetter writes all that is known of one letter.
func ShowDeadLetter(ctx context.Context, cfg *config.Config, id string, opts ShowOptions, w io.Writer) error {
	partition, offset, err := pipeline.ParseDeadLetterID(id)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	l, err := openLetters(ctx, cfg, DeadLetterOptions{}, io.Discard)
	if err != nil {
		return err
	}
	defer l.cluster.Close()
	rec, err := l.cluster.RecordAt(ctx, cfg.Topics.DeadLetter, partition, offset)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if rec == nil {
		return fmt.Errorf("there is no dead letter %s (any more)", id)
	}
	d := pipeline.ReadDeadLetter(rec)
	if opts.Reveal {
		_, err := w.Write(d.Bytes())
		return err
	}
	return describe(d, opts.Value, w)
}

// describe writes a letter for people.
func describe(d *pipeline.DeadLetter, value bool, w io.Writer) error {
	say := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	say("id", "%s", d.ID())
	say("given up", "%s by stage %s", d.Buried.Format(time.RFC3339Nano), plain(d.Stage))
	say("reason", "%s", plain(d.Reason))
	say("detail", "%s", strconv.QuoteToGraphic(d.Detail))
	say("came from", "%s/%d@%d", plain(d.Origin.Topic), d.Origin.Partition, d.Origin.Offset)
	if !d.OriginTime.IsZero() {
		say("its time", "%s", d.OriginTime.Format(time.RFC3339Nano))
	}
	if v := d.Delivery; v != nil {
		say("user", "%s", plain(v.UserID))
		say("room", "%s", plain(v.RoomID))
		say("event", "%s (%s)", plain(v.EventID), plain(v.Type))
		say("app", "%s", plain(v.AppID))
		say("pushkey", "%v", v.Pushkey)
		say("delivery", "%s, tried %d times", plain(v.ID), d.Attempts)
	}
	say("key", "%s", plain(d.Key()))
	for _, h := range d.Headers() {
		if value || slices.Contains(knownHeaders, h.Key) {
			say("header", "%s: %s", plain(h.Key), plain(string(h.Value)))
		} else {
			say("header", "%s: %d bytes (--value shows them)", plain(h.Key), len(h.Value))
		}
	}
	size := fmt.Sprintf("%d bytes", d.Size)
	if d.CutFrom >= 0 {
		size += fmt.Sprintf(", cut from %d: it was too large for the dead-letter topic", d.CutFrom)
	}
	if !value {
		say("value", "%s (what people wrote is private: --value shows it)", size)
		return nil
	}
	say("value", "%s", size)
	b, err := d.Value()
	if err != nil {
		return fmt.Errorf("%w: --reveal writes the bytes as they are", err)
	}
	_, err = fmt.Fprintln(w, harmless(b))
	return err
}

// knownHeaders hold nothing private.
var knownHeaders = []string{"traceparent", "tracestate", stream.HeaderNotify, stream.HeaderState, stream.HeaderStreamPosition}

// harmless replaces what a terminal would obey.
func harmless(b []byte) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(string(b), string(utf8.RuneError)))
}
