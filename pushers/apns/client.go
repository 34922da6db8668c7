package apns

// The library behind the package, apns2, with its surprises: nothing else here uses it for requests or tokens.
//
// What it would do by itself, and what is done about it:
//   - Its defaults are package variables that others may change: a client is made here from its parts.
//   - It escapes the payload for HTML, which makes it longer: the transport below puts the exact bytes in its place.
//   - It can't send an expiration of 0 ("try once"), which is a thing of its own: the transport adds the header.
//   - Renewing a token, it drops the error of signing and sends the old one; and each process of a deployment would have another one: tokens are made by [Tokens], and the transport adds them.
//   - It follows redirects, with the payload and the device token: it is told not to.
//   - It reads replies without a bound, and forgets the status of one that is no JSON: the transport keeps them, and hands it an empty one.
//   - Its errors have the URL in them, and so the device token: they are stripped.

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"

	"tocsin/pushers/outbound"
)

// The hosts of Apple.
const (
	hostProduction = apns2.HostProduction
	hostSandbox    = apns2.HostDevelopment
)

// maxReply bounds what is read of a reply. Apple's have less than 100 bytes.
const maxReply = 16 << 10

// exchange is one request on its way through apns2 and back.
type exchange struct {
	push   *push
	body   []byte // exactly what goes out
	bearer string // the provider token, as a header has it; "" if a certificate proves who sends
	link   *link

	status int
	header http.Header
	reply  []byte
}

// exchangeKey finds the exchange in the context of its request.
type exchangeKey struct{}

// newClient makes a client whose requests go through next, which knows nothing of credentials.
func newClient(base string, wrap func(http.RoundTripper) http.RoundTripper) *apns2.Client {
	var next http.RoundTripper = carrier{shared: wrap != nil}
	if wrap != nil {
		next = wrap(next)
	}
	return &apns2.Client{Host: base, HTTPClient: &http.Client{
		Transport:     shaper{next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// run sends x. The error is why there is no answer.
func (x *exchange) run(ctx context.Context, client *apns2.Client) error {
	p := x.push
	n := &apns2.Notification{
		ApnsID: p.id, CollapseID: p.collapse, DeviceToken: p.token, Topic: p.topic, Priority: p.priority, PushType: apns2.EPushType(p.pushType),
		Payload: emptyPayload,
	}
	_, err := client.PushWithContext(context.WithValue(ctx, exchangeKey{}, x), n)
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	return err
}

// emptyPayload stands where the shaper puts the payload.
var emptyPayload = []byte("{}")

// shaper gives requests what apns2 can't give them, and keeps their replies.
type shaper struct{ next http.RoundTripper }

func (s shaper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := r.Context().Value(exchangeKey{}).(*exchange)
	r.Body.Close()
	out := *r                                       // the one that came is not ours to change
	out.Header = make(http.Header, len(r.Header)+3) // with room for the credential
	maps.Copy(out.Header, r.Header)
	if x.push.expires != keepAsLong {
		out.Header["Apns-Expiration"] = []string{strconv.FormatInt(x.push.expires, 10)}
	}
	out.Header["User-Agent"] = []string{outbound.UserAgent}
	out.ContentLength = int64(len(x.body))
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.body)), nil }
	out.Body, _ = out.GetBody()
	resp, err := s.next.RoundTrip(&out)
	if err != nil {
		return nil, err
	}
	x.status, x.header = resp.StatusCode, resp.Header
	if resp.ContentLength != 0 { // as that of a push that was taken is
		x.reply, _ = io.ReadAll(io.LimitReader(resp.Body, maxReply)) // a reply that breaks off is read as far as it goes: its status has come
	}
	resp.Body.Close()
	resp.Body = http.NoBody
	return resp, nil
}

// carrier carries a request over the connection that was chosen for it, with the credential. Nobody who looks at requests on their way sees that.
type carrier struct {
	shared bool // somebody else has the request, too; else it is the shaper's, which is done with it
}

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	x := r.Context().Value(exchangeKey{}).(*exchange)
	if x.bearer == "" {
		return x.link.client.RoundTrip(r)
	}
	if c.shared {
		out := *r
		out.Header = r.Header.Clone()
		r = &out
	}
	r.Header["Authorization"] = []string{x.bearer}
	return x.link.client.RoundTrip(r)
}

// parseKey reads a .p8 file.
func parseKey(p8 []byte) (*ecdsa.PrivateKey, error) { return token.AuthKeyFromBytes(p8) }
