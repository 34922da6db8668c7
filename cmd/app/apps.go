package app

// The push services, as the configuration says how they are reached.

import (
	"fmt"
	"log/slog"
	"net/http"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pushers"
	"tocsin/pushers/apps"
	"tocsin/pushers/gateway"
)

// openApps makes the senders for all push services, on the network that the options name. wrap stands around each request to a push gateway; nil: nothing does.
func openApps(cfg *config.Config, opts Options, wrap func(http.RoundTripper) http.RoundTripper, log *slog.Logger, clk clock.Clock) (*apps.Apps, error) {
	return apps.Open(cfg.Apps, appsOptions(cfg, opts, wrap, log, clk))
}

func appsOptions(cfg *config.Config, opts Options, wrap func(http.RoundTripper) http.RoundTripper, log *slog.Logger, clk clock.Clock) apps.Options {
	d := cfg.Delivery
	o := apps.Options{WebPush: opts.WebPush, Clock: clk, Log: log}
	o.GatewayOptions.Dial, o.GatewayOptions.Wrap = opts.PushDial, wrap
	g := &o.Gateway
	g.Path, g.AllowHTTP = d.GatewayPath, d.AllowHTTP || opts.PushDial != nil
	g.AllowNetworks, g.AllowHosts, g.Timeout, g.Connections = d.AllowCIDRs, d.AllowHosts, d.Timeout, d.ConcurrencyPerGateway
	g.Proxy.URL, g.Proxy.Username, g.Proxy.Password = d.Proxy.Address(), d.Proxy.Username, d.Proxy.Password
	return o
}

// toldThrough says through which push service the pushers of an app are told, and which app of the configuration says so; url is that of the pusher. It reads no credentials.
func toldThrough(listed apps.Config, appID, url string) string {
	name, app := listed.Listed(appID)
	provider := apps.Provider(app)
	if own, ok := app.(*apps.Gateway); ok && own.URL != "" {
		url = own.URL
	}
	host := ""
	if provider == pushers.ProviderGateway {
		host = gateway.Service(url)
	}
	return through(provider, host, name)
}

// through names a push service, and the setting that leads there, if one does.
func through(provider, host, name string) string {
	text := provider
	if host != "" {
		text += " " + printable(host)
	}
	if name != "" {
		text += fmt.Sprintf(", as apps[%s] says", name)
	}
	return text
}
