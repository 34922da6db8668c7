package delivery_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tocsin/clock"
	"tocsin/delivery"
	"tocsin/pushers"
)

// gatewayOf is a gateway that answers by the names of what it is sent: a URL with 503 in it fails, a pushkey with dead in it is rejected. It is a Sender and a Bundler.
type gatewayOf struct {
	takes time.Duration

	mu       sync.Mutex
	requests [][]string // pushkeys
}

func (g *gatewayOf) Send(ctx context.Context, d pushers.Delivery) pushers.Outcome {
	return g.SendBundle(ctx, []pushers.Notification{d.Notification})[0]
}

func (g *gatewayOf) SendBundle(ctx context.Context, ns []pushers.Notification) []pushers.Outcome {
	var pushkeys []string
	outcomes := make([]pushers.Outcome, len(ns))
	for i, n := range ns {
		pushkeys = append(pushkeys, n.Device.Pusher.Pushkey.Reveal())
		switch {
		case n.Device.Pusher.URL != ns[0].Device.Pusher.URL:
			panic("two gateways in one request")
		case strings.Contains(n.Device.Pusher.URL, "503"):
			outcomes[i] = pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503", Status: 503}
		case strings.Contains(pushkeys[i], "dead"):
			outcomes[i] = pushers.Outcome{Verdict: pushers.Gone, Reason: "rejected", Status: 200}
		default:
			outcomes[i] = pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}
		}
	}
	g.mu.Lock()
	g.requests = append(g.requests, pushkeys)
	g.mu.Unlock()
	timer := time.NewTimer(g.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return slices.Repeat([]pushers.Outcome{{Verdict: pushers.Uncertain, Reason: "timeout"}}, len(ns))
	}
	return outcomes
}

func (*gatewayOf) Bundle(n *pushers.Notification) string {
	if n.EventID == "" {
		return ""
	}
	return n.EventID + n.Device.Pusher.URL
}

// sent is the requests, each in order.
func (g *gatewayOf) sent() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for _, r := range g.requests {
		slices.Sort(r)
		all = append(all, strings.Join(r, " "))
	}
	slices.Sort(all)
	return all
}

func bundling(size int, g *gatewayOf) *delivery.Dispatcher {
	cfg := delivery.Defaults()
	cfg.Bundle = size
	cfg.Breaker.Failures = 1000
	return delivery.New(cfg, gateways{g, g}, clock.System{}, delivery.Options{Log: slog.New(slog.DiscardHandler)})
}

// about is a delivery of an event to a device.
func about(event, url, pushkey string) pushers.Delivery {
	n := to("https://" + url + "/_matrix/push/v1/notify")
	n.EventID, n.Device.Pusher.Pushkey = event, pushers.NewPushkey(pushkey)
	return pushers.Delivery{UserID: "@of:" + pushkey, Notification: n, Since: time.Now(), Expires: time.Now().Add(time.Hour)}
}

// deliverAll makes deliveries at the same time and returns what follows each.
func deliverAll(ctx context.Context, d *delivery.Dispatcher, all []pushers.Delivery) []pushers.Step {
	steps := make([]pushers.Step, len(all))
	var workers sync.WaitGroup
	for i, what := range all {
		workers.Go(func() { steps[i] = d.Deliver(ctx, what) })
	}
	workers.Wait()
	return steps
}

func TestBundle(t *testing.T) {
	t.Parallel()
	retry := about("$1", "gw", "retry")
	retry.Attempt = 1
	for _, tc := range []struct {
		name string
		size int
		all  []pushers.Delivery
		want []string
		took time.Duration // without the request
	}{
		{"as many as there is room for go at once", 3, []pushers.Delivery{about("$1", "gw", "a"), about("$1", "gw", "b"), about("$1", "gw", "c")}, []string{"a b c"}, 0},
		{"fewer go after a moment", 4, []pushers.Delivery{about("$1", "gw", "a"), about("$1", "gw", "b")}, []string{"a b"}, 3 * time.Millisecond},
		{"one goes alone after a moment", 4, []pushers.Delivery{about("$1", "gw", "a")}, []string{"a"}, 3 * time.Millisecond},
		{"another event", 2, []pushers.Delivery{about("$1", "gw", "a"), about("$2", "gw", "b")}, []string{"a", "b"}, 3 * time.Millisecond},
		{"another gateway", 2, []pushers.Delivery{about("$1", "gw", "a"), about("$1", "other", "b")}, []string{"a", "b"}, 3 * time.Millisecond},
		{"what must go alone goes at once", 2, []pushers.Delivery{about("", "gw", "a")}, []string{"a"}, 0},
		{"no pushkey twice", 3, []pushers.Delivery{about("$1", "gw", "a"), about("$1", "gw", "a"), about("$1", "gw", "a")}, []string{"a", "a", "a"}, 3 * time.Millisecond},
		{"off", 1, []pushers.Delivery{about("$1", "gw", "a"), about("$1", "gw", "b")}, []string{"a", "b"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := &gatewayOf{takes: time.Second}
				d := bundling(tc.size, g)
				for i := range tc.all {
					tc.all[i].Expires = time.Now().Add(time.Hour)
				}
				start := time.Now()
				for _, step := range deliverAll(t.Context(), d, tc.all) {
					if step.Action != pushers.Settle || step.Verdict != pushers.Delivered {
						t.Errorf("got %+v", step)
					}
				}
				if took := time.Since(start); took != tc.took+g.takes {
					t.Errorf("took %v, want %v", took, tc.took+g.takes)
				}
				if diff := cmp.Diff(tc.want, g.sent()); diff != "" {
					t.Errorf("requests (-want +got)\n%s", diff)
				}
			})
		})
	}
}

// TestBundleRetriesGoAlone holds that what failed in company is tried alone: it may be what the gateway stumbles over.
func TestBundleRetriesGoAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gatewayOf{}
		all := []pushers.Delivery{about("$1", "gw", "a"), about("$1", "gw", "b"), about("$1", "gw", "c")}
		all[0].Attempt, all[2].Attempt = 1, 7
		deliverAll(t.Context(), bundling(3, g), all)
		if diff := cmp.Diff([]string{"a", "b", "c"}, g.sent()); diff != "" {
			t.Errorf("requests (-want +got)\n%s", diff)
		}
	})
}

// TestBundleHoldsNobodyUp has a bundle whose request hangs: whoever comes later goes in another.
func TestBundleHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gatewayOf{takes: 9 * time.Second}
		d := bundling(10, g)
		var slow sync.WaitGroup
		slow.Go(func() { deliverAll(t.Context(), d, []pushers.Delivery{about("$1", "gw", "a"), about("$1", "gw", "b")}) })
		time.Sleep(time.Second)
		start := time.Now()
		deliverAll(t.Context(), d, []pushers.Delivery{about("$1", "gw", "c"), about("$1", "gw", "d")})
		if took := time.Since(start); took != 9*time.Second+3*time.Millisecond {
			t.Errorf("took %v", took)
		}
		slow.Wait()
		if diff := cmp.Diff([]string{"a b", "c d"}, g.sent()); diff != "" {
			t.Errorf("requests (-want +got)\n%s", diff)
		}
	})
}

// TestBundleWhenAWorkerStops holds that the request of a bundle goes on while somebody waits for it, and ends when nobody does.
func TestBundleWhenAWorkerStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gatewayOf{takes: 5 * time.Second}
		d := bundling(2, g)
		first, stopFirst := context.WithCancel(t.Context())
		second, stopSecond := context.WithCancel(t.Context())
		defer stopSecond()
		for _, both := range []bool{false, true} {
			var members sync.WaitGroup
			var steps [2]pushers.Step
			start := time.Now()
			members.Go(func() { steps[0] = d.Deliver(first, about("$1", "gw", "a")) })
			synctest.Wait()
			members.Go(func() { steps[1] = d.Deliver(second, about("$1", "gw", "b")) })
			time.Sleep(time.Second)
			stopFirst()
			if both {
				stopSecond()
			}
			members.Wait()
			want, ends := pushers.Delivered, 5*time.Second
			if both {
				want, ends = pushers.Uncertain, time.Second
			}
			if steps[0].Verdict != want || steps[1].Verdict != want || time.Since(start) != ends {
				t.Errorf("got %+v after %v, want %v after %v", steps, time.Since(start), want, ends)
			}
			first, stopFirst = context.WithCancel(t.Context())
		}
		stopFirst()
	})
}

// TestBundlesAreAsOneByOne holds that what follows each delivery is the same in whatever company it travels.
func TestBundlesAreAsOneByOne(t *testing.T) {
	t.Parallel()
	device := rapid.Custom(func(t *rapid.T) [4]string {
		return [4]string{
			rapid.SampledFrom([]string{"", "$1", "$2"}).Draw(t, "event"), rapid.SampledFrom([]string{"gw", "other", "gw503"}).Draw(t, "host"),
			rapid.SampledFrom([]string{"dead", "live"}).Draw(t, "fate") + rapid.SampledFrom([]string{"1", "2", "3", "4"}).Draw(t, "device"),
			rapid.SampledFrom([]string{"", "", "", "retry"}).Draw(t, "attempt"),
		}
	})
	rapid.Check(t, func(r *rapid.T) {
		drawn := rapid.SliceOfN(device, 1, 20).Draw(r, "deliveries")
		size := rapid.IntRange(2, 8).Draw(r, "size")
		var all []pushers.Delivery
		var got, want []pushers.Step
		g, lonely := &gatewayOf{}, &gatewayOf{}
		synctest.Test(t, func(t *testing.T) {
			for _, d := range drawn {
				what := about(d[0], d[1], d[2])
				if d[3] == "retry" {
					what.Attempt = 1
				}
				all = append(all, what)
			}
			got = deliverAll(t.Context(), bundling(size, g), all)
			alone := bundling(1, lonely)
			for _, what := range all {
				want = append(want, alone.Deliver(t.Context(), what))
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			r.Errorf("what follows (-alone +together)\n%s", diff)
		}
		var told []string
		for _, request := range g.sent() {
			pushkeys := strings.Fields(request)
			if len(pushkeys) > size || len(slices.Compact(slices.Clone(pushkeys))) != len(pushkeys) {
				r.Errorf("a request for %s", request)
			}
			told = append(told, pushkeys...)
		}
		slices.Sort(told)
		if diff := cmp.Diff(lonely.sent(), told); diff != "" {
			r.Errorf("devices that were told (-want +got)\n%s", diff)
		}
	})
}
