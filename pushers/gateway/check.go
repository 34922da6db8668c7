package gateway

// Asking a gateway whether it is there.

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// Check asks the gateway of a URL whether it is there, by a notification for no device. Any answer will do: status is that of it. words say what it means if it is not one of a
// push gateway; "" if it is. The error says why no answer came, and what to do.
func (s *Sender) Check(ctx context.Context, url string) (status int, words string, err error) {
	to, err := s.cfg.target(url)
	if err != nil {
		return 0, "", err
	}
	attempt := s.client.Begin(ctx)
	defer attempt.End()
	a := attempt.Post(outbound.Request{URL: to, Header: s.header, Body: []byte(`{"notification":{"devices":[]}}`)})
	switch o := classify(a, []string{""}, s.clock.Now())[0]; {
	case a.Status == 0 && o.Cause != nil:
		return 0, "", fmt.Errorf("%s (%s): %w", Words(o), o.Reason, o.Cause)
	case a.Status == 0:
		return 0, "", errors.New(Words(o) + " (" + o.Reason + ")")
	case o.Verdict == pushers.Delivered && o.Reason == reasonAccepted, a.Status == http.StatusBadRequest: // some don't take a notification for nobody
		return a.Status, "", nil
	default:
		return a.Status, Words(o), nil
	}
}
