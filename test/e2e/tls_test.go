package e2e_test

// Push gateways whose TLS is not as it should be, over https and the network as it is, by a worker process that trusts a test authority.

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tocsin/test/stack"
)

// detour is an address that leads to one gateway, and later to another. It keeps what clients send in clear.
type detour struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu     sync.Mutex
	target string
	open   map[net.Conn]bool
	sent   bytes.Buffer
}

func newDetour(t *testing.T, target string) *detour {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &detour{listener: listener, target: target, open: map[net.Conn]bool{}}
	d.conns.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			d.conns.Go(func() { d.carry(in) })
		}
	})
	t.Cleanup(func() { listener.Close(); d.lead(""); d.conns.Wait() })
	return d
}

// lead makes the address lead elsewhere, and ends what there is.
func (d *detour) lead(target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = target
	for conn := range d.open {
		conn.Close()
	}
	clear(d.open)
}

func (d *detour) carry(in net.Conn) {
	defer in.Close()
	d.mu.Lock()
	out, err := net.Dial("tcp", d.target)
	if err == nil {
		d.open[in], d.open[out] = true, true
	}
	d.mu.Unlock()
	if err != nil {
		return
	}
	defer out.Close()
	d.conns.Go(func() {
		defer in.Close()
		_, _ = io.Copy(in, out)
	})
	_, _ = io.Copy(out, io.TeeReader(in, d))
}

// Write notes what a client has sent.
func (d *detour) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent.Write(p)
}

// clear is what clients have sent.
func (d *detour) clear() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent.String()
}

// journal is what a worker logs. Tests wait for lines of it.
type journal struct{ stack.Buffer }

// find is the first part that an expression's group matches; "" if there is none.
func (j *journal) find(expression string) string {
	if found := regexp.MustCompile(expression).FindStringSubmatch(j.String()); found != nil {
		return found[1]
	}
	return ""
}

// TestTLS has a gateway for each fault, each with one user. Nobody is told anything in clear, nobody's pusher is removed, and when the certificates are right everybody is told once.
func TestTLS(t *testing.T) {
	t.Parallel()
	kafka, redis := stack.Kafka(t), stack.Redis(t)
	t.Cleanup(func() { kafka.DeleteTopics(t) })
	faults := []struct {
		name string
		how  stack.TLS
		says string // part of the detail
	}{
		{"good", stack.GoodTLS, "accepted"},
		{"expired", stack.ExpiredTLS, "tls: .*expired"},
		{"wrong name", stack.WrongNameTLS, "tls: .*127.0.0.1"},
		{"self-signed", stack.SelfSignedTLS, "tls: .*unknown authority"},
		{"hanging", stack.HangingTLS, "tls: .*timeout"},
		{"none", stack.NoTLS, "tls: "},
	}
	var authorities bytes.Buffer
	start := func(how stack.TLS) (*stack.Gateway, func() []stack.Request) {
		var mu sync.Mutex
		var got []stack.Request
		g, err := stack.StartGateway(stack.GatewayOptions{TLS: how, Observe: func(r stack.Request) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, r)
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close() })
		if g.Authority() != nil {
			if err := pem.Encode(&authorities, &pem.Block{Type: "CERTIFICATE", Bytes: g.Authority().Raw}); err != nil {
				t.Fatal(err)
			}
		}
		return g, func() []stack.Request { mu.Lock(); defer mu.Unlock(); return append([]stack.Request(nil), got...) }
	}
	good, healed := start(stack.GoodTLS)
	var detours []*detour
	var strayed []func() []stack.Request
	var records []*kgo.Record
	add := func(topic, key, format string, args ...any) {
		records = append(records, &kgo.Record{Topic: kafka.Prefix + topic, Key: []byte(key), Value: fmt.Appendf(nil, format, args...)})
	}
	for i, f := range faults {
		g, requests := start(f.how)
		detours, strayed = append(detours, newDetour(t, g.Address())), append(strayed, requests)
		user, room := fmt.Sprintf("@u%d:example.org", i), fmt.Sprintf("!r%d:example.org", i)
		add("account", user+"|pusher|app|key", `{"user_id":%q,"type":"pusher","content":{"kind":"http","app_id":"app","pushkey":"key%d","data":{"url":"https://%s/_matrix/push/v1/notify"}}}`,
			user, i, detours[i].listener.Addr())
		for _, member := range []string{"@alice:example.org", user} {
			add("events", room, `{"event_id":"$join%s%d","room_id":%q,"type":"m.room.member","sender":%q,"state_key":%[4]q,"content":{"membership":"join"}}`, member[1:3], i, room, member)
		}
		add("events", room, `{"event_id":"$m%d","room_id":%q,"type":"m.room.message","sender":"@alice:example.org","content":{"msgtype":"m.text","body":"a secret"}}`, i, room)
	}
	trusted := filepath.Join(t.TempDir(), "authorities.pem")
	if err := os.WriteFile(trusted, authorities.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	log, admin := &journal{}, freeAddress(t)
	w := &workers{binary: build(t), environment: append(environment(kafka, redis), "SSL_CERT_FILE="+trusted, "SSL_CERT_DIR="+t.TempDir(),
		"TOCSIN_DELIVERY_ALLOW_HTTP=false", "TOCSIN_DELIVERY_TIMEOUT=4s", "TOCSIN_ADMIN_LISTEN="+admin, "TOCSIN_LOG_LEVEL=info"), log: log}
	w.run(t, "topics", "create", "--partitions", "1", "--replication", "1")
	produce(t, kafka, records)
	worker := w.start(t)
	settled := func(i int, how string) string {
		return log.find(fmt.Sprintf(`(?m)event_id=\$m%d .*(%s)`, i, how))
	}
	await(t, time.Minute, func() error {
		for i, f := range faults {
			if settled(i, f.says) == "" {
				return fmt.Errorf("%s: the log does not say %s: %s", f.name, f.says, log.find(fmt.Sprintf(`(event_id=\$m%d .*)`, i)))
			}
		}
		return nil
	})
	if m := scrape(t, admin); !regexp.MustCompile(`tocsin_push_settled_total\{action="retry",answer="tls",app="",outcome="retry",provider="gateway",reason=""\} [1-9]`).MatchString(m) {
		t.Errorf("failed handshakes are not counted:\n%s", m)
	}
	for i, f := range faults {
		if got := strayed[i](); f.how != stack.GoodTLS && len(got) > 0 {
			t.Errorf("%s: the gateway was sent %s", f.name, got[0].Body)
		}
		if sent := detours[i].clear(); strings.Contains(sent, "POST") || strings.Contains(sent, fmt.Sprintf("$m%d", i)) || strings.Contains(sent, "secret") {
			t.Errorf("%s: sent in clear: %q", f.name, sent)
		}
		if f.how != stack.GoodTLS {
			detours[i].lead(good.Address())
		}
	}
	await(t, time.Minute, func() error {
		if n := len(healed()); n < len(faults)-1 {
			return fmt.Errorf("%d of %d have come", n, len(faults)-1)
		}
		return nil
	})
	stop(t, worker)
	told := map[string]int{}
	for _, r := range append(healed(), strayed[0]()...) {
		n, err := stack.DecodeNotification(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		told[n.EventID]++
	}
	for i, f := range faults {
		if n := told[fmt.Sprintf("$m%d", i)]; n != 1 {
			t.Errorf("%s: told %d times", f.name, n)
		}
	}
}

// freeAddress is one that nobody listens on. It is on a loopback address of its own, where no other test takes the port meanwhile.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.87.67.83:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// scrape reads the metrics of a worker.
func scrape(t *testing.T, address string) string {
	t.Helper()
	res, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}
