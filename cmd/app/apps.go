package app

// The push services, as the configuration says how they are reached.

import (
	"log/slog"
	"net/http"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pushers/apps"
	"tocsin/pushers/gateway"
)

// openApps makes the senders for all push services, on the network that the options name. wrap stands around each request to a push gateway; nil: nothing does.
func openApps(cfg *config.Config, opts Options, wrap func(http.RoundTripper) http.RoundTripper, log *slog.Logger, clk clock.Clock) (*apps.Apps, error) {
	return apps.Open(cfg.Apps, appsOptions(cfg, opts, wrap, log, clk))
}

func appsOptions(cfg *config.Config, opts Options, wrap func(http.RoundTripper) http.RoundTripper, log *slog.Logger, clk clock.Clock) apps.Options {
	d := cfg.Delivery
	return apps.Options{
		Gateway: gateway.Config{
			Path: d.GatewayPath, AllowHTTP: d.AllowHTTP || opts.PushDial != nil, AllowNetworks: d.AllowCIDRs, AllowHosts: d.AllowHosts, Timeout: d.Timeout, Connections: d.ConcurrencyPerGateway,
			Proxy: gateway.Proxy{URL: d.Proxy.Address(), Username: d.Proxy.Username, Password: d.Proxy.Password},
		},
		GatewayOptions: gateway.Options{Dial: opts.PushDial, Wrap: wrap}, WebPush: opts.WebPush, Clock: clk, Log: log,
	}
}
