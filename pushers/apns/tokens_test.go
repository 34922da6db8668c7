package apns

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tocsin/test/stack"
)

func testKey(t *testing.T) signingKey {
	t.Helper()
	b := &bed{dir: t.TempDir(), apns: stack.APNsServer(t, stack.APNsOptions{})}
	id, err := load(Config{KeyFile: b.newKey(t, "k.p8"), KeyID: keyID, TeamID: teamID})
	if err != nil {
		t.Fatal(err)
	}
	return *id.key
}

// A token is used for 20 minutes at least and never older than 50, whenever a process starts; and after an hour or so all processes change theirs at the same time, and have the same.
func TestTokenLife(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	synctest.Test(t, func(t *testing.T) {
		var processes [30]*Tokens
		type use struct {
			bearer string
			since  time.Time
		}
		var last [30]use
		begin := time.Now().Truncate(tokenWindow)
		issued := map[string]time.Time{}
		for minute := range 300 {
			now := time.Now()
			for i := range processes {
				if i == minute {
					processes[i] = NewTokens()
				}
				if processes[i] == nil {
					continue
				}
				bearer, err := processes[i].get(key)
				if err != nil {
					t.Fatal(err)
				}
				if _, known := issued[bearer]; !known {
					issued[bearer] = now.Truncate(tokenWindow)
				}
				if age := now.Sub(issued[bearer]); age >= 50*time.Minute {
					t.Fatalf("process %d uses a token after %v", i, age)
				}
				if bearer != last[i].bearer {
					if last[i].bearer != "" && now.Sub(last[i].since) < 20*time.Minute {
						t.Fatalf("process %d changed its token after %v", i, now.Sub(last[i].since))
					}
					last[i] = use{bearer, now}
				}
				if minute >= 120 && bearer != last[0].bearer {
					t.Fatalf("after two hours process %d has another token than the first, %v into the window", i, now.Sub(now.Truncate(tokenWindow)))
				}
			}
			time.Sleep(time.Minute)
		}
		if want := int(time.Since(begin) / tokenWindow); len(issued) != want {
			t.Errorf("%d tokens in %d windows", len(issued), want)
		}
	})
}

// Apple calls a token expired: there is no other within 20 minutes, and then one for all.
func TestTokenAfterExpiry(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens()
		first, err := tokens.get(key)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(19 * time.Minute)
		if got, err := tokens.after(key, first); got != "" || err != nil {
			t.Errorf("after 19 minutes: %q, %v", got, err)
		}
		time.Sleep(2 * time.Minute)
		second, err := tokens.after(key, first)
		if second == "" || second == first || err != nil {
			t.Errorf("after 21 minutes: %q, %v", second, err)
		}
		got, _ := tokens.after(key, first)
		if now, _ := tokens.get(key); got != second || now != second {
			t.Error("it was renewed twice")
		}
	})
}

// All apps and senders of all processes prove themselves with one token for a team and key. The service would refuse another.
func TestOneTokenForAll(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	until(t, "a window that lasts", func() bool {
		now := time.Now()
		return now.Add(9 * time.Second).Truncate(tokenWindow).Equal(now.Truncate(tokenWindow))
	})
	var wg sync.WaitGroup
	for range 3 {
		tokens := NewTokens() // of a process
		for range 2 {
			s := b.sender(t, Options{Tokens: tokens})
			time.Sleep(10 * time.Millisecond)
			wg.Go(func() { allDelivered(t, crowd(t, s, 20)) })
		}
	}
	wg.Wait()
	issued := map[int64]bool{}
	for _, p := range b.received() {
		issued[p.Issued.Unix()] = true
	}
	if len(issued) != 1 {
		t.Errorf("%d tokens were used", len(issued))
	}
}

// A provider token that Apple calls expired is renewed once for all, and the pushes go out.
func TestExpiredProviderToken(t *testing.T) {
	t.Parallel()
	var expired atomic.Int64 // when that token was issued
	b := newBed(t, stack.APNsOptions{TokenUpdates: -1, Answer: func(p stack.APNsPush) stack.APNsAnswer {
		if p.Issued.Unix() == expired.Load() {
			return stack.APNsAnswer{Status: 403, Reason: "ExpiredProviderToken"}
		}
		return stack.APNsAnswer{}
	}})
	tokens := NewTokens()
	s := b.sender(t, Options{Tokens: tokens})
	allDelivered(t, crowd(t, s, 1))
	expired.Store(b.last(t).Issued.Unix())
	key := *s.links.present().key
	tokens.mu.Lock()
	old := tokens.made[key.name()]
	old.since = time.Now().Add(-30 * time.Minute) // it could be
	tokens.made[key.name()] = old
	tokens.mu.Unlock()
	until(t, "the next second", func() bool { return time.Now().Unix() > expired.Load() })

	allDelivered(t, crowd(t, s, 50))
	issued := map[int64]bool{}
	for _, p := range b.received() {
		issued[p.Issued.Unix()] = true
	}
	if len(issued) != 2 {
		t.Errorf("%d tokens were used", len(issued))
	}
}
