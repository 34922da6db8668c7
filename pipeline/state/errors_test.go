package state

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/google/go-cmp/cmp"

	"tocsin/credential"
)

// answer makes an embedded server answer the commands with an error; %s in it is the command.
func answer(m *miniredis.Miniredis, text string, commands ...string) {
	m.Server().SetPreHook(func(c *server.Peer, command string, args ...string) bool {
		for _, refused := range commands {
			if command == refused {
				said := strings.Replace(text, "%s", command, 1)
				c.WriteError(strings.Replace(said, "%a", fmt.Sprintf("%q", args), 1))
				return true
			}
		}
		return false
	})
}

// TestServerErrors has a server give every answer that we have a hint for, to every call: testdata/errors.golden shows what an operator reads. None of it
// names a user, a room or a pushkey, though the server does in one case.
func TestServerErrors(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	s := open(t, testConfig(Single, m.Addr()))
	s.server = "redis.example.org:6379"
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	commands := []string{"EVALSHA", "EVAL", "HGETALL", "HGET", "HDEL", "HSETNX", "HSCAN", "ZMSCORE", "HMGET", "EXISTS", "SET", "PFADD", "PFCOUNT", "PING"}
	var golden strings.Builder
	for _, text := range []string{
		"WRONGPASS invalid username-password pair or user is disabled.",
		"NOAUTH Authentication required.",
		"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
		"NOPERM this user has no permissions to access one of the keys used as arguments",
		"NOPERM this user has no permissions to run the '%s' command",
		"ERR ACL failure in script: this user has no permissions to access one of the keys used as arguments",
		"READONLY You can't write against a read only replica.",
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
		"OOM command not allowed when used memory > 'maxmemory'.",
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
		"NOREPLICAS Not enough good replicas to write.",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"LOADING Redis is loading the dataset in memory",
		"CLUSTERDOWN The cluster is down",
		"MOVED 3999 127.0.0.1:6381",
		"CROSSSLOT Keys in request don't hash to the same slot",
		"ERR unknown command '%s', with args beginning with: %a",
		"ERR max number of clients reached",
		"WRONGTYPE Operation against a key holding the wrong kind of value",
		"ERR something new",
	} {
		answer(m, text, commands...)
		said := ""
		for name, call := range everyCall(s) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := call(ctx)
			cancel()
			if err == nil {
				t.Errorf("%s succeeds after %q", name, text)
				continue
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("%s names somebody: %s", name, err)
			}
			if name == "Counts" {
				said = err.Error()
			}
		}
		fmt.Fprintf(&golden, "%s\n\n", said)
	}
	answer(m, "")
	const file = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(file, []byte(golden.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), golden.String()); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// askedOnce is the error of a first question.
func askedOnce(t *testing.T, cfg Config) error {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Counts(t.Context(), []string{"@hush:x"})
	return err
}

func TestNetworkErrors(t *testing.T) {
	t.Parallel()
	dead := deadAddress(t)
	err := askedOnce(t, testConfig(Single, dead))
	if !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), dead) || !strings.Contains(err.Error(), "is Redis running, is the address right?") {
		t.Errorf("nobody there: %v", err)
	}
	var failed *Error
	if !errors.As(err, &failed) || failed.Server != dead || failed.Op != "read counts" {
		t.Errorf("nobody there: %#v", failed)
	}

	cfg := testConfig(Single, "redis.invalid:6379")
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "redis.invalid", IsNotFound: true}
	}
	if err = askedOnce(t, cfg); err == nil || !strings.Contains(err.Error(), "check the name in redis.addresses") {
		t.Errorf("no such name: %v", err)
	}

	garbage := listen(t, func(conn net.Conn) { fmt.Fprintf(conn, "HTTP/1.1 400 @hush:x\r\n\r\n") })
	if err = askedOnce(t, testConfig(Single, garbage)); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("another protocol: %v", err)
	}

	closing := listen(t, func(net.Conn) {})
	if err = askedOnce(t, testConfig(Single, closing)); err == nil || !strings.Contains(err.Error(), "wants TLS (redis.tls.enabled)") {
		t.Errorf("hanging up: %v", err)
	}

	cfg = testConfig(Single, single(t).Addresses[0])
	cfg.Mode = Cluster
	if onRealServers() {
		if err = askedOnce(t, cfg); err == nil || !strings.Contains(err.Error(), "set redis.mode to single") {
			t.Errorf("mode cluster, server single: %v", err)
		}
	}
	if address := os.Getenv("TOCSIN_TEST_REDIS_CLUSTER"); address != "" {
		cfg = testConfig(Single, strings.Split(address, ",")[0])
		failed := false
		for i := range 20 { // some keys are at home there
			s, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Counts(t.Context(), []string{fmt.Sprint(i)})
			failed = failed || err != nil && strings.Contains(err.Error(), "set redis.mode to cluster")
			s.Close()
		}
		if !failed {
			t.Error("mode single, server in a cluster: no error says so")
		}
	}
}

// listen serves every connection with serve, which then ends.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 512))
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestUnknownMaster(t *testing.T) {
	t.Parallel()
	cfg := testConfig(Sentinel, os.Getenv("TOCSIN_TEST_REDIS_SENTINEL"))
	if !onRealServers() {
		cfg = testConfig(Sentinel, runSentinel(t, miniredis.RunT(t).Addr()))
	} else if cfg.Addresses[0] == "" {
		return
	}
	cfg.Sentinel.Master = "another"
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, call := range everyCall(s) {
		if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), "redis.sentinel.master") {
			t.Errorf("%s of a master that nobody knows: %v", name, err)
		}
	}
}

// TestTLS is about certificates, on an embedded server and with the certificate that net/http has for tests.
func TestTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil)
	web.Close()
	m, err := miniredis.RunTLS(web.TLS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(Single, m.Addr())
	cfg.TLS = credential.TLS{Enabled: true, CAFile: ca}
	if err := askedOnce(t, cfg); err != nil {
		t.Errorf("with the right authority: %v", err)
	}

	var authority x509.UnknownAuthorityError
	cfg.TLS.CAFile = ""
	if err := askedOnce(t, cfg); !errors.As(err, &authority) || !strings.Contains(err.Error(), "set redis.tls.ca_file") {
		t.Errorf("without the authority: %v", err)
	}

	var name x509.HostnameError
	cfg.TLS.CAFile, cfg.TLS.ServerName = ca, "other.example.net"
	if err := askedOnce(t, cfg); !errors.As(err, &name) || !strings.Contains(err.Error(), "redis.tls.server_name") {
		t.Errorf("with another name: %v", err)
	}

	cfg.TLS = credential.TLS{}
	if err := askedOnce(t, cfg); err == nil || !strings.Contains(err.Error(), "redis.tls.enabled") && !strings.Contains(err.Error(), "protocol") {
		t.Errorf("without TLS: %v", err)
	}

	cfg = testConfig(Single, single(t).Addresses[0])
	cfg.TLS, cfg.Timeout = credential.TLS{Enabled: true, CAFile: ca}, time.Second
	start := time.Now()
	if err := askedOnce(t, cfg); err == nil || !strings.Contains(err.Error(), "does this port speak TLS?") {
		t.Errorf("TLS to a plain port: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("TLS to a plain port took %v to fail", took)
	}
}

// TestLogin is about passwords on an embedded server.
func TestLogin(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	m.RequireUserAuth("worker", "right")
	login(t, testConfig(Single, m.Addr()), "worker", "right")
}

// TestLoginOverTLS is the same on a real server with TLS and an ACL.
func TestLoginOverTLS(t *testing.T) {
	t.Parallel()
	address := os.Getenv("TOCSIN_TEST_REDIS_SECURE")
	if address == "" {
		return // the two tests above do each alone
	}
	cfg := testConfig(Single, address)
	cfg.TLS = credential.TLS{Enabled: true, CAFile: os.Getenv("TOCSIN_TEST_REDIS_CA")}
	login(t, cfg, os.Getenv("TOCSIN_TEST_REDIS_USER"), os.Getenv("TOCSIN_TEST_REDIS_PASSWORD"))

	cfg.TLS = credential.TLS{}
	if err := askedOnce(t, cfg); err == nil || !strings.Contains(err.Error(), "redis.tls.enabled") {
		t.Errorf("without TLS: %v", err)
	}
	cfg.TLS = credential.TLS{Enabled: true}
	var authority x509.UnknownAuthorityError
	start := time.Now()
	if err := askedOnce(t, cfg); !errors.As(err, &authority) {
		t.Errorf("without the authority: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a wrong authority took %v to tell", took)
	}
}

// login tries the right user and wrong ones.
func login(t *testing.T, cfg Config, user, password string) {
	t.Helper()
	for _, tc := range []struct{ user, password, want string }{
		{user, password, ""},
		{user, "wrong", "check redis.username and redis.password"},
		{"nobody", password, "check redis.username and redis.password"},
		{"", "", "set redis.password"},
	} {
		cfg.Username, cfg.Password = tc.user, credential.NewSecret(tc.password)
		err := askedOnce(t, cfg)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("user %q: %v, want %q", tc.user, err, tc.want)
		}
		if err == nil {
			continue
		}
		if strings.Contains(err.Error(), password) {
			t.Errorf("the error tells the password: %v", err)
		}
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for name, call := range everyCall(s) {
			if err := call(t.Context()); err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("user %q: %s: %v", tc.user, name, err)
			}
		}
		s.Close()
	}
}
