package fcm

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"tocsin/credential"
	"tocsin/pushers"
)

// mint is a token endpoint: what it gives next.
type mint struct {
	fetched int
	takes   time.Duration
	life    time.Duration
	err     error
}

func (m *mint) fetch() (*oauth2.Token, error) {
	m.fetched++
	token, err := &oauth2.Token{AccessToken: "t" + strconv.Itoa(m.fetched), Expiry: time.Now().Add(m.takes + m.life)}, m.err
	time.Sleep(m.takes)
	if err != nil {
		return nil, err
	}
	return token, nil
}

// inTime runs a test of tokens in virtual time.
func inTime(t *testing.T, f func(t *testing.T, m *mint, tk *tokens)) {
	synctest.Test(t, func(t *testing.T) {
		var group sync.WaitGroup
		m := &mint{takes: time.Second, life: time.Hour}
		f(t, m, &tokens{fetch: m.fetch, group: &group})
		group.Wait()
	})
}

// gets holds that a token is there, and how long it was waited for.
func gets(t *testing.T, tk *tokens, want string, after time.Duration) {
	t.Helper()
	began := time.Now()
	got, err := tk.get(t.Context())
	if err != nil || got.Reveal() != want || time.Since(began) != after {
		t.Errorf("got %q, %v after %v; want %s after %v", got.Reveal(), err, time.Since(began), want, after)
	}
}

// TestTokenIsRenewedEarly holds that nobody waits for a new token while the old one is good.
func TestTokenIsRenewedEarly(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, m *mint, tk *tokens) {
		gets(t, tk, "t1", time.Second)
		time.Sleep(45*time.Minute - time.Nanosecond)
		gets(t, tk, "t1", 0)
		time.Sleep(time.Nanosecond)
		for range 3 {
			gets(t, tk, "t1", 0) // and a new one is fetched meanwhile
		}
		time.Sleep(2 * time.Second)
		gets(t, tk, "t2", 0)
		if m.fetched != 2 {
			t.Errorf("fetched %d tokens, want 2", m.fetched)
		}
	})
}

// TestTokenOutlivesTrouble has the endpoint away when a token should be renewed: the old one serves to its end.
func TestTokenOutlivesTrouble(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, m *mint, tk *tokens) {
		gets(t, tk, "t1", time.Second)
		time.Sleep(50 * time.Minute)
		m.err = &tokenError{outcome: pushers.Outcome{Verdict: pushers.Retry, Reason: "token_http_503", RetryAfter: 2 * time.Minute}}
		for range 540 { // to the last ten seconds of the hour, and no further
			gets(t, tk, "t1", 0)
			time.Sleep(time.Second)
		}
		if m.fetched < 8 || m.fetched > 12 {
			t.Errorf("fetched %d tokens in nine minutes of trouble, want one a minute: no wish lasts longer", m.fetched-1)
		}
		time.Sleep(time.Minute)
		if _, err := tk.get(t.Context()); !errors.Is(err, m.err) {
			t.Errorf("got %v", err)
		}
		m.err = nil
		time.Sleep(2 * time.Minute)
		gets(t, tk, "t"+strconv.Itoa(m.fetched+1), time.Second)
	})
}

// TestTokenPause holds that an endpoint that fails is left alone for a while, and all fail with it meanwhile.
func TestTokenPause(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		failure pushers.Outcome
		want    int // fetches in twelve seconds, each of which takes one
	}{
		{pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "token_invalid_grant", Status: 400}, 2},
		{pushers.Outcome{Verdict: pushers.Retry, Reason: "token_http_503", Status: 503, RetryAfter: 10 * time.Second}, 2},
		{pushers.Outcome{Verdict: pushers.Retry, Reason: "token_connect"}, 6},
	} {
		inTime(t, func(t *testing.T, m *mint, tk *tokens) {
			m.err = &tokenError{outcome: tc.failure}
			for began := time.Now(); time.Since(began) < 12*time.Second; time.Sleep(time.Second / 4) {
				if _, err := tk.get(t.Context()); !errors.Is(err, m.err) {
					t.Errorf("got %v", err)
				}
			}
			if m.fetched != tc.want {
				t.Errorf("%s: fetched %d times, want %d", tc.failure.Reason, m.fetched, tc.want)
			}
		})
	}
}

func TestTokenIsVoid(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, m *mint, tk *tokens) {
		gets(t, tk, "t1", time.Second)
		tk.void(credential.NewSecret("t0"))
		gets(t, tk, "t1", 0)
		tk.void(credential.NewSecret("t1"))
		gets(t, tk, "t2", time.Second)
		tk.void(credential.NewSecret("t1")) // of one whose request took longer
		gets(t, tk, "t2", 0)
	})
}

// TestTokenIsNotWaitedForLonger holds that each waits as long as it may, and that the fetch goes on for the others.
func TestTokenIsNotWaitedForLonger(t *testing.T) {
	t.Parallel()
	inTime(t, func(t *testing.T, m *mint, tk *tokens) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		_, err := tk.get(ctx)
		if failed := (*tokenError)(nil); !errors.As(err, &failed) || failed.outcome.Verdict != pushers.Retry || failed.outcome.Reason != "token_timeout" {
			t.Errorf("got %v", err)
		}
		gets(t, tk, "t1", time.Second/2)
	})
}

// TestTokenWithoutEnd has an endpoint that does not say how long a token is good.
func TestTokenWithoutEnd(t *testing.T) {
	t.Parallel()
	tk := &tokens{}
	tk.take(&oauth2.Token{AccessToken: "t"}, nil, noon)
	if tk.renew != noon.Add(450*time.Second) || tk.ends != noon.Add(590*time.Second) {
		t.Errorf("renewed at %v, ends at %v", tk.renew, tk.ends)
	}
}
