package fcm

// The access token that a service account sends with, which all requests share.

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// tokens is the access token of one account. Whoever finds that it is about to end has a new one fetched, and goes on with the old one; when it has ended, all wait for the
// same new one. It is safe for concurrent use.
type tokens struct {
	fetch func() (*oauth2.Token, error) // asks the token endpoint; bounded in time
	group *sync.WaitGroup               // of the goroutines that fetch

	mu       sync.Mutex
	secret   credential.Secret
	renew    time.Time     // from then on a new one is fetched
	ends     time.Time     // until then it is good
	fetching chan struct{} // closed when the fetch that is under way is over; nil if none is
	failure  error         // what the last fetch came to
	again    time.Time     // no fetch before then, because the last one failed
}

const (
	// tokenLife is how long a token is good if the endpoint does not say so.
	tokenLife = 10 * time.Minute
	// tokenPause is how long the endpoint is left alone when it refused. All who need a token fail with it meanwhile.
	tokenPause = 5 * time.Second
	// brokenPause is the same when no answer came.
	brokenPause = time.Second
	// longestTokenPause bounds what the endpoint may ask for.
	longestTokenPause = time.Minute
)

// get is a token that is good now.
func (t *tokens) get(ctx context.Context) (credential.Secret, error) {
	for {
		t.mu.Lock()
		now := time.Now()
		if !now.Before(t.renew) && !now.Before(t.again) && t.fetching == nil {
			t.start()
		}
		secret, good, fetching, failure := t.secret, now.Before(t.ends), t.fetching, t.failure
		t.mu.Unlock()
		switch {
		case good:
			return secret, nil
		case fetching == nil:
			return credential.Secret{}, failure
		}
		select {
		case <-fetching:
		case <-ctx.Done():
			return credential.Secret{}, &tokenError{outcome: pushers.Outcome{Verdict: pushers.Retry, Reason: "token_timeout", Cause: ctx.Err()}}
		}
	}
}

// void forgets a token that was refused, unless there is another one already.
func (t *tokens) void(refused credential.Secret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.secret == refused {
		t.secret, t.renew, t.ends = credential.Secret{}, time.Time{}, time.Time{}
	}
}

// start fetches a token. The lock is held.
func (t *tokens) start() {
	done := make(chan struct{})
	t.fetching = done
	t.group.Go(func() {
		token, err := t.fetch()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.take(token, err, time.Now())
		t.fetching = nil
		close(done)
	})
}

// take keeps what a fetch came to. A token is renewed after three quarters of its life, so that nobody waits for it.
func (t *tokens) take(token *oauth2.Token, err error, now time.Time) {
	if t.failure = err; err != nil {
		pause := tokenPause
		if failed := (*tokenError)(nil); errors.As(err, &failed) {
			if failed.outcome.Status == 0 {
				pause = brokenPause
			}
			pause = min(cmp.Or(failed.outcome.RetryAfter, pause), longestTokenPause)
		}
		t.again = now.Add(pause)
		return
	}
	life := tokenLife
	if !token.Expiry.IsZero() {
		life = max(token.Expiry.Sub(now), 0)
	}
	t.secret, t.again = credential.NewSecret(token.AccessToken), time.Time{}
	t.renew, t.ends = now.Add(life*3/4), now.Add(life-min(life/16, 10*time.Second))
}

// tokenError says why there is no token, and what comes of a notification that needs one: nothing was sent.
type tokenError struct{ outcome pushers.Outcome }

func (e *tokenError) Error() string {
	text := "access token: " + strings.TrimPrefix(e.outcome.Reason, "token_")
	if e.outcome.Cause != nil {
		text += ": " + e.outcome.Cause.Error()
	}
	return text
}

// fetchToken asks the token endpoint, a second time if the connection breaks: to ask twice does no harm. ctx bounds it.
func fetchToken(ctx context.Context, keys *jwt.Config, exchanges http.RoundTripper, now func() time.Time) (*oauth2.Token, error) {
	token, seen := askToken(ctx, keys, exchanges)
	if seen.err != nil && !outbound.IsTimeout(seen.err) {
		token, seen = askToken(ctx, keys, exchanges)
	}
	if token == nil {
		return nil, &tokenError{outcome: classifyToken(seen, now())}
	}
	return token, nil
}

// askToken makes one request. The token is nil if there is none.
func askToken(ctx context.Context, keys *jwt.Config, exchanges http.RoundTripper) (*oauth2.Token, tokenAnswer) {
	var seen tokenAnswer
	client := &http.Client{
		Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			resp, err := exchanges.RoundTrip(r.WithContext(ctx))
			seen.keep(resp, err)
			return resp, err
		}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	token, err := keys.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, client)).Token()
	if err == nil && token.AccessToken != "" {
		return token, seen
	}
	if failed := (*oauth2.RetrieveError)(nil); errors.As(err, &failed) {
		seen.body = failed.Body
	}
	return nil, seen
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// tokenAnswer is what came from the token endpoint.
type tokenAnswer struct {
	status int // 0 if no answer came
	header http.Header
	body   []byte // of an answer that is no success
	err    error  // why no answer came
}

func (a *tokenAnswer) keep(resp *http.Response, err error) {
	if a.err = err; err != nil {
		return
	}
	a.status, a.header = resp.StatusCode, resp.Header
	resp.Body = &tokenBody{ReadCloser: resp.Body, left: io.LimitReader(resp.Body, maxReply), of: a}
}

// tokenBody notes that an answer breaks off: then there is none.
type tokenBody struct {
	io.ReadCloser
	left io.Reader
	of   *tokenAnswer
}

func (b *tokenBody) Read(p []byte) (int, error) {
	n, err := b.left.Read(p)
	if err != nil && err != io.EOF {
		b.of.status, b.of.err = 0, err
	}
	return n, err
}

// classifyToken says what it means that there is no token: a refusal is the operator's to mend, all else passes.
func classifyToken(a tokenAnswer, now time.Time) pushers.Outcome {
	o := pushers.Outcome{Verdict: pushers.Misconfigured, Status: a.status, Reason: "token_" + outbound.StatusReason(a.status)}
	switch {
	case a.err != nil:
		o = classifyError(attempt{err: a.err}) // not sent: whatever became of the request for a token, no notification went out
		if o.Reason = "token_" + o.Reason; outbound.IsTimeout(a.err) {
			o.Reason = "token_timeout"
		}
	case a.status >= 500, a.status == http.StatusTooManyRequests, a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly:
		o.Verdict, o.RetryAfter = pushers.Retry, outbound.RetryAfter(a.header, now)
	case a.status >= 200 && a.status < 300:
		o.Reason = "token_unreadable"
	case a.status == http.StatusBadRequest, a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		if refusal := refusalOf(a.body); refusal != "" {
			o.Reason = "token_" + refusal
		}
	}
	return o
}

// refusalOf is the error code in an answer of a token endpoint (RFC 6749, section 5.2; RFC 7523, section 3.1); "" if it has none that is known.
func refusalOf(raw []byte) string {
	var reply struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(raw, &reply) != nil {
		return ""
	}
	switch reply.Error {
	case "invalid_grant", "invalid_client", "invalid_scope", "invalid_request", "unauthorized_client", "unsupported_grant_type", "access_denied":
		return reply.Error
	}
	return ""
}
