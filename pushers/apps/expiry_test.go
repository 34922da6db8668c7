package apps

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tocsin/clock"
	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/test/stack"
)

// dated is a certificate that expires.
type dated struct{ at atomic.Int64 } // in seconds since 1970; 0: never

func until(at time.Time) *dated {
	d := &dated{}
	d.at.Store(at.Unix())
	return d
}

func (d *dated) Expiry() time.Time {
	if at := d.at.Load(); at != 0 {
		return time.Unix(at, 0)
	}
	return time.Time{}
}

func (d *dated) Warning(now time.Time) string {
	if at := d.Expiry(); !at.IsZero() && at.Sub(now) <= apns.ExpiryNotice {
		return fmt.Sprintf("%v left", at.Sub(now))
	}
	return ""
}

// warnings are the lines of a log, each with the time when it came, since the beginning.
type warnings struct {
	slog.Handler
	began time.Time
	lines []string
}

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	line := fmt.Sprintf("%v %v %s", time.Since(w.began), r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "expiry" {
			line += fmt.Sprintf(" %s=%s", a.Key, a.Value)
		}
		return true
	})
	w.lines = append(w.lines, line)
	return nil
}

// In virtual time: a certificate is warned of at the start and once a day, from 30 days ahead; a new one that expires soon at once, and one that does not never again.
func TestWarnOfExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		log := &warnings{began: time.Now()}
		soon, later := until(time.Now().Add(10*day)), until(time.Now().Add(32*day))
		a := &Apps{clock: clock.System{}, log: slog.New(log), listed: []*Entry{
			{Name: "soon", Provider: pushers.ProviderAPNs, expiring: soon}, {Name: "later", Provider: pushers.ProviderAPNs, expiring: later},
			{Name: "key", Provider: pushers.ProviderAPNs, expiring: &dated{}}, {Name: "never", Provider: pushers.ProviderFCM},
		}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); a.WarnOfExpiry(ctx) }()
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		wait(day + day/2 + time.Second)
		soon.at.Store(time.Now().Add(5 * day).Unix()) // replaced, by one that expires even sooner
		wait(day + time.Hour)
		soon.at.Store(time.Now().Add(365 * day).Unix())
		wait(day)
		stop()
		<-ended
		want := []string{
			"0s WARN 240h0m0s left provider=apns app=soon",
			"24h0m0s WARN 216h0m0s left provider=apns app=soon",
			"36h1m0s WARN 119h59m1s left provider=apns app=soon",
			"48h0m0s WARN 720h0m0s left provider=apns app=later",
			"60h1m0s WARN 95h59m1s left provider=apns app=soon",
			"72h0m0s WARN 696h0m0s left provider=apns app=later",
		}
		if got := strings.Join(log.lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}

// A certificate that is replaced while it is in use is warned of by its own date.
func TestExpiryOfReplacedCertificate(t *testing.T) {
	t.Parallel()
	service := stack.APNsServer(t, stack.APNsOptions{})
	file := filepath.Join(t.TempDir(), "cert.pem")
	write := func(days int) time.Time {
		t.Helper()
		notAfter := time.Now().Add(time.Duration(days)*24*time.Hour + time.Hour).Truncate(time.Second)
		leaf, key, err := service.NewCertificate("org.example", notAfter)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".new", certificateWithKey(t, leaf, key), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		return notAfter
	}
	first := write(100)
	app := apns.Defaults()
	app.CertFile, app.Topic = file, "org.example"
	log := &warnings{began: time.Now()}
	a, err := Open(Config{"ios": &app, "own": &Gateway{}}, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	a.log = slog.New(log)
	ios := a.Listed("ios")
	if got := ios.Expiry(); !got.Equal(first) {
		t.Errorf("expiry %v, want %v", got, first)
	}
	if own := a.Listed("own"); !own.Expiry().IsZero() || own.Warning(time.Now()) != "" {
		t.Error("a gateway has no credentials that expire")
	}
	warned := map[*Entry]warning{}
	a.lookAtExpiry(warned)
	second := write(7)
	for deadline := time.Now().Add(30 * time.Second); !ios.Expiry().Equal(second); time.Sleep(5 * time.Millisecond) { // for the file to be read
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not in use after 30 s")
		}
	}
	a.lookAtExpiry(warned)
	a.lookAtExpiry(warned)
	if len(log.lines) != 1 || !strings.Contains(log.lines[0], "the certificate expires in 7 days") || !strings.HasSuffix(log.lines[0], "provider=apns app=ios") {
		t.Errorf("log %q", log.lines)
	}
}

// certificateWithKey is both in PEM.
func certificateWithKey(t *testing.T, leaf *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}
