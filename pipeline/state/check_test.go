package state

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// TestCheck runs on servers that are as they must be: a real one tells so, an embedded one tells nothing of its persistence.
func TestCheck(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		got := map[string]bool{}
		for _, f := range open(t, cfg).Check(t.Context()) {
			t.Log(f)
			got[f.Subject] = true
			if f.Level == Bad || f.Level == Unread && onRealServers() {
				t.Errorf("%s", f)
			}
		}
		want := []string{"reachable", "version", "append-only file", "eviction", "scripts"}
		if cfg.Mode == Cluster {
			want = append(want, "cluster")
		}
		for _, subject := range want {
			if !got[subject] {
				t.Errorf("nothing is said about %s", subject)
			}
		}
	})
}

func TestCheckOfInfo(t *testing.T) {
	t.Parallel()
	good := "# Server\r\nredis_version:7.0.15\r\naof_enabled:1\r\naof_last_write_status:ok\r\nmaxmemory_policy:noeviction\r\n"
	for _, tc := range []struct {
		name, info string
		want       []string // what is not good
	}{
		{"good", good, nil},
		{"new", strings.Replace(good, "7.0.15", "10.0.0-rc1", 1), nil},
		{"oldest", strings.Replace(good, "7.0.15", "6.2.0", 1), nil},
		{"empty", "", []string{
			"version: could not be read: INFO does not tell redis_version; it must be 6.2 or newer",
			"append-only file: could not be read: INFO does not tell aof_enabled; set appendonly yes, or a restart loses what was written",
			"eviction: could not be read: INFO does not tell maxmemory_policy; it must be noeviction, or rulesets and pushers vanish when memory is short",
		}},
		{"odd version", strings.Replace(good, "7.0.15", "unstable.x", 1), []string{`version: could not be read: "unstable.x" is no version that we know; it must be 6.2 or newer`}},
		{"old", strings.Replace(good, "7.0.15", "6.0.16", 1), []string{"version: wrong: 6.0.16 is too old: 6.2 or newer is needed"}},
		{"older", strings.Replace(good, "7.0.15", "5.9.9", 1), []string{"version: wrong: 5.9.9 is too old: 6.2 or newer is needed"}},
		{"no file", strings.Replace(good, "aof_enabled:1", "aof_enabled:0", 1), []string{"append-only file: wrong: off: a restart loses what was written; set appendonly yes"}},
		{"full disk", strings.Replace(good, "status:ok", "status:err", 1), []string{"append-only file: wrong: the last write to it failed (err): is the disk full? See the server's log"}},
		{"eviction", strings.Replace(good, "noeviction", "allkeys-lru", 1), []string{"eviction: wrong: maxmemory-policy is allkeys-lru: rulesets and pushers vanish when memory is short; set noeviction"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var found findings
			info := parseInfo(tc.info)
			checkVersion("h:1", info, &found)
			checkPersistence("h:1", info, &found)
			checkEviction("h:1", info, &found)
			var got []string
			for _, f := range found.all {
				if f.Level != Good {
					got = append(got, strings.TrimPrefix(f.String(), "redis h:1: "))
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestCheckUnreachable(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{Single, Cluster, Sentinel} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(mode, deadAddress(t))
			if mode == Sentinel {
				cfg.Sentinel.Master = "tocsin"
			}
			s, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			bad := 0
			for _, f := range s.Check(t.Context()) {
				if f.Level == Bad {
					bad++
				}
				if f.Subject == "reachable" && f.Level == Bad && !strings.Contains(f.Text, "refused") && !strings.Contains(f.Text, "sentinel") {
					t.Errorf("%s does not tell why", f)
				}
			}
			if bad == 0 {
				t.Error("nothing is wrong with a server that is not there")
			}
			if err := s.Ping(t.Context()); err == nil {
				t.Error("Ping of a server that is not there succeeds")
			}
		})
	}
}

// TestCheckWithoutScripts is about an account that may not run scripts.
func TestCheckWithoutScripts(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	refuse(m, "EVAL", "EVALSHA")
	s := open(t, testConfig(Single, m.Addr()))
	found := false
	for _, f := range s.Check(t.Context()) {
		if f.Subject == "scripts" && f.Level == Bad && strings.Contains(f.Text, "+@scripting") {
			found = true
		}
	}
	if !found {
		t.Errorf("%v says nothing of scripts", s.Check(t.Context()))
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		if err := open(t, cfg).Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// deadAddress is an address where nothing listens.
func deadAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestServerWithoutInfo is about a managed server that keeps INFO to itself.
func TestServerWithoutInfo(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	refuse(m, "INFO")
	unread := 0
	for _, f := range open(t, testConfig(Single, m.Addr())).Check(t.Context()) {
		switch f.Level {
		case Bad:
			t.Error(f)
		case Unread:
			unread++
		}
	}
	if unread != 1 {
		t.Errorf("%d findings could not be read, want 1", unread)
	}
}

// refuse makes an embedded server answer commands as an ACL does.
func refuse(m *miniredis.Miniredis, commands ...string) {
	answer(m, "NOPERM this user has no permissions to run the '%s' command", commands...)
}
