package apps

// Looking whether apps could be told, before they are.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/pushers/gateway"
	"tocsin/pushers/webpush"
)

// Finding is what came of looking at one app.
type Finding struct {
	App     string // as the configuration has it
	Err     error  // why it can't be told, with what to do, beginning with the app or with the path of a key; nil if it can
	Good    string // what was found, if it can; "" if Warning says all
	Warning string // what must be looked after soon; "" if nothing
}

// longestCheck bounds the look at one app.
const longestCheck = 10 * time.Second

// Check looks whether each app that is listed could be told: it reads the credentials, and asks the push service whether it takes them. Nobody is notified. All are looked at side by
// side; the findings are in the order of their names.
func Check(ctx context.Context, cfg Config, opts Options) []Finding {
	opts = opts.complete()
	tokens := apns.NewTokens()
	names := slices.Sorted(maps.Keys(cfg))
	findings := make([]Finding, len(names))
	var looking sync.WaitGroup
	for i, name := range names {
		entry, err := open(name, cfg[name], opts, tokens)
		if err != nil {
			findings[i] = Finding{App: name, Err: of(name, err)}
			continue
		}
		looking.Go(func() {
			defer entry.sender.Close()
			ctx, cancel := context.WithTimeout(ctx, longestCheck)
			defer cancel()
			findings[i] = entry.look(ctx, opts.Clock.Now())
		})
	}
	looking.Wait()
	return findings
}

// look looks at one app, at its credentials' dates, too.
func (e *Entry) look(ctx context.Context, now time.Time) Finding {
	f := e.check(ctx)
	f.App = e.Name
	if f.Warning == "" {
		f.Warning = e.Warning(now)
	}
	if expiry := e.Expiry(); !expiry.IsZero() && !now.Before(expiry) {
		f.Err, f.Warning = errors.Join(f.Err, errors.New(f.Warning)), ""
	}
	if f.Err != nil {
		f.Err = fmt.Errorf("%s: %w", e.Name, f.Err)
	}
	return f
}

func checkAPNs(cfg apns.Config, s *apns.Sender) func(context.Context) Finding {
	return func(ctx context.Context) Finding {
		if err := s.Check(ctx); err != nil {
			return Finding{Err: fmt.Errorf("APNs: %w", err)}
		}
		topic := cfg.Topic
		if topic == "" {
			topic = "that of the certificate"
		}
		return Finding{Good: fmt.Sprintf("APNs, %s, takes the %s for topic %s", cfg.Environment, s.Proof(), topic)}
	}
}

func checkFCM(s *fcm.Sender) func(context.Context) Finding {
	return func(ctx context.Context) Finding {
		if err := s.Check(ctx); err != nil {
			return Finding{Err: err}
		}
		return Finding{Good: fmt.Sprintf("FCM, project %s, takes messages of the service account", s.Project())}
	}
}

// checkWebPush asks nobody: a push service can be asked by a subscription alone, which is a browser's.
func checkWebPush(s *webpush.Sender) func(context.Context) Finding {
	return func(context.Context) Finding {
		return Finding{Good: "Web Push: browsers subscribe with the public key " + s.PublicKey()}
	}
}

func checkGateway(s *gateway.Sender, url string) func(context.Context) Finding {
	return func(ctx context.Context) Finding {
		if url == "" {
			return Finding{Good: "each pusher is told through its own gateway"}
		}
		status, words, err := s.Check(ctx, url)
		if err != nil {
			return Finding{Err: fmt.Errorf("gateway %s: %w", gateway.Service(url), err)}
		}
		text := fmt.Sprintf("gateway %s answers (%d)", gateway.Service(url), status)
		switch {
		case words == "":
		case status >= 300 && status < 500 && status != http.StatusTooManyRequests: // it will not get better by itself
			return Finding{Err: errors.New(text + ": " + words)}
		default:
			return Finding{Warning: text + ": " + words}
		}
		return Finding{Good: text}
	}
}
