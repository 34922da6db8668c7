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

// A token lives between 20 and 50 minutes, and is one for all.
func TestTokenLife(t *testing.T) {
	t.Parallel()
	key := testKey(t)
	synctest.Test(t, func(t *testing.T) {
		tokens := NewTokens()
		first, err := tokens.get(key)
		if err != nil {
			t.Fatal(err)
		}
		get := func() string {
			got, err := tokens.get(key)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for age := time.Duration(0); age < 48*time.Minute; age += time.Minute {
			if get() != first {
				t.Fatalf("another token after %v", age)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(2 * time.Minute)
		second := get()
		if second == first {
			t.Fatal("the same token after 50 minutes")
		}
		// Apple calls one expired: there is no other within 20 minutes.
		time.Sleep(19 * time.Minute)
		if got, err := tokens.after(key, second); got != "" || err != nil {
			t.Errorf("after 19 minutes: %q, %v", got, err)
		}
		if got, _ := tokens.after(key, first); got != second {
			t.Error("one who was late does not get the newer one")
		}
		time.Sleep(2 * time.Minute)
		third, err := tokens.after(key, second)
		if third == "" || third == second || err != nil {
			t.Errorf("after 21 minutes: %q, %v", third, err)
		}
		if got, _ := tokens.after(key, second); got != third || get() != third {
			t.Error("it was renewed twice")
		}
	})
}

// All apps and senders of a process prove themselves with one token for a team and key. The service would refuse another.
func TestOneTokenForAll(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	tokens := NewTokens()
	var wg sync.WaitGroup
	for range 5 {
		s := b.sender(t, Options{Tokens: tokens})
		time.Sleep(10 * time.Millisecond)
		wg.Go(func() { allDelivered(t, crowd(t, s, 20)) })
	}
	wg.Wait()
	if len(tokens.made) != 1 {
		t.Errorf("%d tokens", len(tokens.made))
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
	old.at = time.Now().Add(-30 * time.Minute) // it could be
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
