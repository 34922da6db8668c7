package apns

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tocsin/pushers"
	"tocsin/test/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	teamID = "TEAM012345"
	keyID  = "KEY0123456"
	bundle = "im.vector.app"
)

// bed is an embedded service and an app that pushes to it.
type bed struct {
	apns *stack.APNs
	cfg  Config
	dir  string

	mu     sync.Mutex
	pushes []stack.APNsPush
}

// newBed makes an app with a key.
func newBed(t testing.TB, opts stack.APNsOptions) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir()}
	observe := opts.Observe
	opts.Observe = func(p stack.APNsPush) {
		if observe != nil {
			observe(p)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.pushes = append(b.pushes, p)
	}
	b.apns = stack.APNsServer(t, opts)
	b.cfg = Defaults()
	b.cfg.BaseURL, b.cfg.CAFile, b.cfg.Topic = b.apns.URL(), b.file(t, "ca.pem", b.apns.Authority()), bundle
	b.cfg.KeyFile, b.cfg.KeyID, b.cfg.TeamID = b.newKey(t, "key.p8"), keyID, teamID
	return b
}

func (b *bed) newKey(t testing.TB, name string) string {
	t.Helper()
	p8, err := b.apns.NewKey(teamID, keyID)
	if err != nil {
		t.Fatal(err)
	}
	return b.file(t, name, p8)
}

// file writes a file in the way of a careful operator: whole, then renamed.
func (b *bed) file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (b *bed) sender(t testing.TB, opts Options) *Sender {
	t.Helper()
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s, err := New(b.cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (b *bed) received() []stack.APNsPush {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]stack.APNsPush(nil), b.pushes...)
}

// last is the push that was received last.
func (b *bed) last(t testing.TB) stack.APNsPush {
	t.Helper()
	all := b.received()
	if len(all) == 0 {
		t.Fatal("no push was received")
	}
	return all[len(all)-1]
}

// numbered is a delivery of its own to a device of its own.
func numbered(i int) pushers.Delivery {
	n := elements()
	n.EventID = fmt.Sprintf("$event%d", i)
	token := sha256.Sum256([]byte(n.EventID))
	n.Device.Pusher.Pushkey = pushers.NewPushkey(base64.StdEncoding.EncodeToString(token[:]))
	n.Device.Pusher.PushkeyTS = registered
	return pushers.Delivery{ID: fmt.Sprintf("%032x", i), UserID: "@me:example.org", Notification: n, Expires: time.Now().Add(time.Hour)}
}

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}
