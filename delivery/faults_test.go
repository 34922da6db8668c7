package delivery_test

// What follows each way in which a real gateway can fail, over real sockets.

import (
	"crypto/x509"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tocsin/clock"
	"tocsin/delivery"
	"tocsin/pushers"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
	"tocsin/test/stack"
)

// faulty is a Dispatcher with a real client that trusts the gateway's authority.
func faulty(t *testing.T, g *stack.Gateway, timeout time.Duration) *delivery.Dispatcher {
	trusted := x509.NewCertPool()
	if g.Authority() != nil {
		trusted.AddCert(g.Authority())
	}
	sender := gateway.New(gateway.Config{
		AllowHTTP: true, Config: outbound.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: timeout, RootCAs: trusted},
	}, gateway.Options{})
	t.Cleanup(sender.Close)
	return delivery.New(delivery.Defaults(), gateways{sender, sender}, clock.System{}, delivery.Options{Log: slog.New(slog.DiscardHandler)})
}

func TestDeliverToFaultyGateways(t *testing.T) {
	t.Parallel()
	uncertain := pushers.Step{Action: pushers.Again, Tier: 2, Verdict: pushers.Uncertain} // longer than a gateway tries on its own
	settled := pushers.Step{Action: pushers.Settle, Verdict: pushers.Delivered}
	soon := pushers.Step{Action: pushers.Again, Verdict: pushers.Retry}
	for name, tc := range map[string]struct {
		answer stack.Answer
		want   pushers.Step
		detail string
	}{
		"hangs":                        {stack.Answer{Fault: stack.Hang}, uncertain, "timeout"},
		"answers too late":             {stack.Answer{Delay: time.Hour}, uncertain, "timeout"},
		"resets":                       {stack.Answer{Fault: stack.Reset}, uncertain, "no_answer"},
		"resets in the header":         {stack.Answer{Fault: stack.ResetInHeader}, uncertain, "no_answer"},
		"resets in the body":           {stack.Answer{Fault: stack.ResetInBody}, settled, "unreadable_reply"},
		"resets in an error's body":    {stack.Answer{Fault: stack.ResetInBody, Status: 502}, soon, "http_502"},
		"closes":                       {stack.Answer{Fault: stack.CloseUnanswered}, uncertain, "no_answer"},
		"never ends its header":        {stack.Answer{Fault: stack.EndlessHeader}, uncertain, "no_answer"},
		"never ends its body":          {stack.Answer{Fault: stack.EndlessBody}, settled, "unreadable_reply"},
		"never ends an error's body":   {stack.Answer{Fault: stack.EndlessBody, Status: 500}, soon, "http_500"},
		"drips its body":               {stack.Answer{Fault: stack.SlowBody}, settled, "unreadable_reply"},
		"does not speak HTTP":          {stack.Answer{Fault: stack.NotHTTP}, uncertain, "no_answer"},
		"asks for half a minute":       {stack.Answer{Status: 503, Header: map[string]string{"Retry-After": "30"}}, pushers.Step{Action: pushers.Again, Tier: 1, Verdict: pushers.Retry}, "http_503"},
		"rejects":                      {stack.Answer{Rejected: []string{"other", "key"}}, pushers.Step{Action: pushers.Remove, Reason: "rejected", Verdict: pushers.Gone}, "rejected"},
		"rejects what it was not sent": {stack.Answer{Rejected: []string{"other"}}, settled, "others_rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := stack.Gateways(t)
			g.Script(tc.answer)
			timeout := 10 * time.Second
			if tc.detail == "timeout" || tc.answer.Fault == stack.SlowBody {
				timeout = time.Second
			}
			follows(t, faulty(t, g.Gateway, timeout), "http://"+g.Address(), tc.want, tc.detail)
		})
	}
}

// TestDeliverToUnreadRequest has a gateway that resets before it has read a request that is larger than what sockets hold. Whether all of it had left is known to the client alone: both is right.
func TestDeliverToUnreadRequest(t *testing.T) {
	t.Parallel()
	g := stack.Gateways(t)
	g.Script(stack.Answer{Fault: stack.ResetUnread})
	n := to("http://" + g.Address() + gateway.StandardPath)
	n.Content = []byte(`{"body":"` + strings.Repeat("x", 32<<20) + `"}`)
	step := faulty(t, g.Gateway, 10*time.Second).Deliver(t.Context(), pushers.Delivery{Notification: n, Expires: time.Now().Add(24 * time.Hour)})
	if step.Action != pushers.Again || step.Verdict != pushers.Retry || !strings.HasPrefix(step.Detail, "connect") {
		t.Errorf("got %+v: it can't have been read in full", step)
	}
}

func TestDeliverTLSFaults(t *testing.T) {
	t.Parallel()
	for how, want := range map[stack.TLS]string{
		stack.GoodTLS: "accepted", stack.ExpiredTLS: "tls: ", stack.WrongNameTLS: "tls: ", stack.SelfSignedTLS: "tls: ", stack.HangingTLS: "tls: ",
	} {
		g, err := stack.StartGateway(stack.GatewayOptions{TLS: how})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		step := pushers.Step{Action: pushers.Again, Verdict: pushers.Retry}
		if how == stack.GoodTLS {
			step = pushers.Step{Action: pushers.Settle, Verdict: pushers.Delivered}
		}
		follows(t, faulty(t, g, 2*time.Second), "https://"+g.Address(), step, want)
	}
}

// follows holds what follows a delivery to a gateway. The detail begins with the reason.
func follows(t *testing.T, d *delivery.Dispatcher, base string, want pushers.Step, reason string) {
	t.Helper()
	got := d.Deliver(t.Context(), pushers.Delivery{UserID: "@u:x", Notification: to(base + gateway.StandardPath), Expires: time.Now().Add(24 * time.Hour)})
	want.Detail, want.Provider = got.Detail, pushers.ProviderGateway
	if got != want || !strings.HasPrefix(got.Detail, reason) {
		t.Errorf("got %+v, want %+v for %s", got, want, reason)
	}
}
