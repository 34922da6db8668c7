package outbound

// Why there is no answer, for people.

// Words says why there is no answer, and what to do about it; "" of a reason that is not one of this package.
func Words(reason string) string { return words[reason] }

var words = map[string]string{
	BadURL:         "a rule of tocsin forbids the URL: the app must register a URL that fits, or delivery.gateway_path and delivery.allow_http allow others",
	BlockedAddress: "the host has no address that may be connected to, because users choose the URLs: if it is yours, list it in delivery.allow_cidrs or delivery.allow_hosts",
	reasonDNS:      "the host has no address: look at its name, and at the resolver of this machine",
	reasonTLS:      "no trusted TLS connection: look at the server's certificate, and at proxies before it",
	reasonProxy:    "the proxy can't be reached, or does not connect to the host: look at delivery.proxy, and at the proxy's log",
	reasonConnect:  "no connection: look whether the server is up, and at firewalls before it",
	reasonStale:    "the server closed an idle connection just then: it is sent again",
	reasonTimeout:  "no answer came in time: it may have been delivered; look whether the server is overloaded",
	reasonNoAnswer: "the connection broke before the answer: it may have been delivered; look at the server's log",
}
