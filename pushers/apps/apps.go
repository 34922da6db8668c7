// Package apps leads each delivery to the push service of its app: to Apple, Google or a browser's push service for the apps that the configuration lists, and to the gateway of
// the pusher's own URL for all others.
//
// [Open] makes a sender for each listed app, and [Apps.Route] says which one a delivery goes to. What an app's push service wants to be told, and what its answers mean, is the matter of
// the package that speaks to it.
package apps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tocsin/clock"
	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/pushers/gateway"
	"tocsin/pushers/webpush"
)

// Options are what the push services are reached with. The zero value is the real world, and the strictest policy for URLs that users choose.
type Options struct {
	Gateway        gateway.Config  // whom to push to by URL; endpoints of browsers are held to its addresses and limits, too, and everything goes through its Proxy
	GatewayOptions gateway.Options // how gateways are reached
	WebPush        webpush.Options // how browsers' push services are reached; its Network and Clock come from here
	Wrap           func(http.RoundTripper) http.RoundTripper
	Clock          clock.Clock  // what decides about expiry and dates; nil is the machine's
	Log            *slog.Logger // hears of new credentials; nil: slog.Default()
}

// Apps are the senders of all push services. They are safe for concurrent use.
type Apps struct {
	gateway *gateway.Sender // of all apps that are not listed
	listed  []*Entry        // as [Config.order] has them
	clock   clock.Clock
	log     *slog.Logger
}

// Entry is an app that the configuration lists.
type Entry struct {
	Name     string // as the configuration has it: an app id, or a pattern of them
	Provider string // see [pushers.Route]

	pattern  pushers.AppPattern
	sender   closer
	route    func(d *pushers.Delivery) pushers.Route
	check    func(ctx context.Context) Finding // see Check
	expiring expiring                          // its credentials; nil if they never expire
}

// closer is a sender of any kind.
type closer interface {
	pushers.Sender
	Close()
}

// Open makes the senders. It reads the files that the configuration names, and connects to nobody. An error has a line for each app that can't be told, which begins with the path of the key
// that it is about. Close them when nobody sends any more.
func Open(cfg Config, opts Options) (*Apps, error) {
	opts = opts.complete()
	a := &Apps{gateway: gateway.New(opts.Gateway, opts.GatewayOptions), clock: opts.Clock, log: opts.Log}
	tokens := apns.NewTokens()
	var errs []error
	entries := map[string]*Entry{}
	for _, name := range slices.Sorted(maps.Keys(cfg)) {
		entry, err := open(name, cfg[name], opts, tokens)
		if err != nil {
			errs = append(errs, of(name, err))
			continue
		}
		entries[name] = entry
	}
	for _, name := range cfg.order() {
		if entry := entries[name]; entry != nil {
			a.listed = append(a.listed, entry)
		}
	}
	if err := errors.Join(errs...); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// complete fills in what is left to the default.
func (o Options) complete() Options {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.GatewayOptions.Clock = o.Clock
	return o
}

// nameFault says that the name of an app can't be one. It is about no key.
type nameFault struct{ error }

// of is an error of an app, with the path of the key in each of its lines.
func of(name string, err error) error {
	if errors.As(err, &nameFault{}) {
		return fmt.Errorf("apps[%s]: %w", name, err)
	}
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, fmt.Errorf("apps[%s].%s", name, line))
	}
	return errors.Join(errs...)
}

// open makes the sender of one app. An error begins with a key of the app, or is a [nameFault].
func open(name string, app App, opts Options, tokens *apns.Tokens) (*Entry, error) {
	pattern, err := pushers.CompileApps(name)
	if err != nil {
		return nil, nameFault{err}
	}
	e := &Entry{Name: name, Provider: Provider(app), pattern: pattern}
	log := opts.Log.With("provider", e.Provider, "app", name)
	switch app := app.(type) {
	case *apns.Config:
		s, err := apns.New(*app, apns.Options{Tokens: tokens, Dial: opts.Gateway.Proxy.Dial, Wrap: opts.Wrap, Clock: opts.Clock, Log: log})
		if err != nil {
			return nil, err
		}
		e.sender, e.route = s, routeAPNs(name, s)
		e.check, e.expiring = checkAPNs(*app, s), s
	case *fcm.Config:
		s, err := fcm.New(*app, fcm.Options{Proxy: opts.Gateway.Proxy.Login(), Wrap: opts.Wrap, Clock: opts.Clock, Log: log})
		if err != nil {
			return nil, err
		}
		e.sender, e.route = s, routeFCM(name, s)
		e.check = checkFCM(s)
	case *webpush.Config:
		s, err := openWebPush(*app, opts, log)
		if err != nil {
			return nil, err
		}
		e.sender, e.route = s, routeWebPush(name, s)
		e.check = checkWebPush(s)
	case *Gateway:
		s, err := openGateway(*app, opts)
		if err != nil {
			return nil, err
		}
		e.sender, e.route = s, routeGateway(name, s, app.URL)
		e.check = checkGateway(s, app.URL)
	default:
		return nil, fmt.Errorf("type: %T is no way to tell an app", app)
	}
	return e, nil
}

func openWebPush(app webpush.Config, opts Options, log *slog.Logger) (*webpush.Sender, error) {
	how := opts.WebPush
	how.Network, how.Outbound.Wrap = opts.Gateway.Config, opts.Wrap
	how.Clock, how.Log = opts.Clock, log
	return webpush.New(app, how)
}

// openGateway makes a sender for the gateway of an app, which is the operator's and so may be wherever it is, with any path; or for the gateways that its users choose.
func openGateway(app Gateway, opts Options) (*gateway.Sender, error) {
	cfg := opts.Gateway
	if app.URL == "" {
		return gateway.New(cfg, opts.GatewayOptions), nil
	}
	u, err := url.Parse(app.URL)
	switch {
	case err != nil:
		return nil, errors.New("url: it is not a URL")
	case u.Scheme == "http" && !cfg.AllowHTTP:
		return nil, errors.New("url: it must be https (delivery.allow_http allows http)")
	}
	cfg.Path, cfg.Config = gateway.AnyPath, cfg.Trust(u.Hostname())
	if app.CAFile != "" {
		if cfg.RootCAs, err = credential.Authorities(app.CAFile); err != nil {
			return nil, err
		}
	}
	return gateway.New(cfg, opts.GatewayOptions), nil
}

// Close closes all connections, and stops looking at the files of credentials.
func (a *Apps) Close() {
	for _, e := range a.listed {
		e.sender.Close()
	}
	a.gateway.Close()
}

// Listed is the app that the configuration has for an app id: that of the id itself, else of several patterns that match the longest. It is nil if there is none.
func (a *Apps) Listed(appID string) *Entry {
	for _, e := range a.listed {
		if e.pattern.Match(appID) {
			return e
		}
	}
	return nil
}

// Through is by which provider an app's pushers are told, and what the configuration calls it: "" if it is not listed.
func (a *Apps) Through(appID string) (provider, app string) {
	if e := a.Listed(appID); e != nil {
		return e.Provider, e.Name
	}
	return pushers.ProviderGateway, ""
}

// All are the apps that the configuration lists.
func (a *Apps) All() []*Entry { return a.listed }

// Route implements the router of package delivery. It sets the URL of d's pusher if the configuration has one for its app.
func (a *Apps) Route(d *pushers.Delivery) pushers.Route {
	if e := a.Listed(d.Notification.Device.Pusher.AppID); e != nil {
		return e.route(d)
	}
	return byURL(a.gateway, "", d)
}

func byURL(s *gateway.Sender, app string, d *pushers.Delivery) pushers.Route {
	return pushers.Route{Provider: pushers.ProviderGateway, App: app, Service: gateway.Service(d.Notification.Device.Pusher.URL), Sender: s, Bundler: s}
}

// untold is why an app is told nothing.
const untold = "nothing_to_tell"

func routeAPNs(app string, s *apns.Sender) func(*pushers.Delivery) pushers.Route {
	return func(d *pushers.Delivery) pushers.Route {
		r := pushers.Route{Provider: pushers.ProviderAPNs, App: app, Service: app, Account: s.Account(), Sender: s}
		if !s.Tells(&d.Notification) {
			r.Untold = untold
		}
		return r
	}
}

func routeFCM(app string, s *fcm.Sender) func(*pushers.Delivery) pushers.Route {
	return func(*pushers.Delivery) pushers.Route {
		return pushers.Route{Provider: pushers.ProviderFCM, App: app, Service: app, Account: s.Account(), Sender: s}
	}
}

// routeWebPush tells the push services of one app apart, and those of other apps from them: one may refuse the key of one app alone.
func routeWebPush(app string, s *webpush.Sender) func(*pushers.Delivery) pushers.Route {
	return func(d *pushers.Delivery) pushers.Route {
		r := pushers.Route{Provider: pushers.ProviderWebPush, App: app, Service: app + " " + s.Service(&d.Notification.Device.Pusher), Sender: s}
		if !s.Tells(&d.Notification) {
			r.Untold = untold
		}
		return r
	}
}

// routeGateway tells an app's gateway apart from the same host as users name it: it is reached on other terms, and what they can't reach must not look away to the app.
func routeGateway(app string, s *gateway.Sender, fixed string) func(*pushers.Delivery) pushers.Route {
	return func(d *pushers.Delivery) pushers.Route {
		if fixed == "" {
			return byURL(s, app, d)
		}
		d.Notification.Device.Pusher.URL = fixed
		r := byURL(s, app, d)
		r.Service = app + " " + r.Service
		return r
	}
}
