package pushers

// Which push service a delivery goes to.

import "context"

// The kinds of push services, as logs, spans and metrics call them.
const (
	ProviderGateway = "gateway"
	ProviderAPNs    = "apns"
	ProviderFCM     = "fcm"
	ProviderWebPush = "webpush"
)

// Sender makes one attempt to tell a push service. It is safe for concurrent use, and returns within the time that an attempt may take.
type Sender interface {
	Send(ctx context.Context, d Delivery) Outcome
}

// Bundler sends several devices in one request. It is safe for concurrent use.
type Bundler interface {
	// Bundle is equal for notifications that may travel together, and "" for one that must go alone.
	Bundle(n *Notification) string
	// SendBundle is [Sender.Send] for notifications whose Bundle is equal. What it returns has an outcome for each, in their order.
	SendBundle(ctx context.Context, ns []Notification) []Outcome
}

// Route is the way of a delivery to a push service.
type Route struct {
	Provider string  // the kind of push service
	App      string  // the app, as the configuration names it; "" if it does not: a label of metrics, so never what users make up
	Service  string  // what can fail by itself, among the push services of the provider: a gateway's host, the app at Apple
	Account  string  // what several services of the provider share, so that all are left alone when one of them asks for it: a project at Google; "": nothing
	Sender   Sender  // who sends it
	Bundler  Bundler // who sends it together with others; nil: nobody
	Untold   string  // why the app is told nothing of this at all, so that it counts as delivered without a request; "": it is told
}
