// Package webpush tells browsers of notifications by Web Push: RFC 8030 (delivery), RFC 8291 (encryption) and RFC 8292 (VAPID, who we are).
//
// A web client registers a pusher whose pushkey is the subscription's p256dh key, with the endpoint and the auth secret in the pusher's data, and perhaps
// default_payload, events_only and only_last_per_room: the data that Sygnal's Web Push clients register, so they need not change. What is sent is encrypted for the
// browser: the push service sees when, to whom, how urgent and roughly how much, and no content.
//
// The endpoint comes from a user, so it is hostile: only hosts that [Config] lists are asked, and no address that the guard of package outbound refuses.
//
// A [Sender] makes one attempt and says what came of it as a [pushers.Outcome]. The way of a notification through the package: subscribe (whom?, may we?), [Body]
// (what to say), seal (for nobody else), vapid (who says it), [outbound.Attempt] (say it), classify (what the answer means).
//
// What goes through in a second, and what processor time it takes: go test -run '^$' -bench Throughput ./pushers/webpush. Nothing is lost at faults:
// TOCSIN_TEST_SOAK=50000 go test -run Soak ./pushers/webpush.
package webpush

// What an operator can set of an app that is told by Web Push.

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/glob"

	"tocsin/pushers"
)

// Config is what an app with `type: webpush` can be told. Start from [Defaults].
type Config struct {
	VAPIDKeyFile     string         `yaml:"vapid_key_file" doc:"file with the private VAPID key, which is read again when it changes: PEM as openssl and vapid write it, or the private key that web-push generates. Required. Browsers that subscribed with another key can't be reached with this one"`
	Contact          string         `yaml:"contact" doc:"how the operators of push services reach you: an address such as push@example.org, or an https URL. Required"`
	AllowedEndpoints []string       `yaml:"allowed_endpoints" doc:"hosts of push services that are asked, because users choose them: names, or patterns in which * stands for one label or a part of it, ** for any number. Private addresses are refused in any case, see delivery.allow_cidrs"`
	Format           pushers.Format `yaml:"format" doc:"event_id_only tells browsers of no more than the ids and counts, whatever their pushers ask for; empty: as each pusher asks. What is told is encrypted for the browser"`
	TTL              time.Duration  `yaml:"ttl" doc:"longest time that a push service keeps a notification for a browser that is away; 0s: as long as it is worth delivering"`
	BaseURL          string         `yaml:"base_url" doc:"https URL of a relay of yours that all requests go to, with the push service in the Host header; empty: each push service itself"`
	CAFile           string         `yaml:"ca_file" doc:"PEM file of the authorities to trust instead of the system's"`
}

// Defaults ask the push services of the browsers that are common.
func Defaults() Config {
	return Config{AllowedEndpoints: []string{"fcm.googleapis.com", "jmt17.google.com", "*.push.services.mozilla.com", "*.push.apple.com", "*.notify.windows.com"}}
}

// maxTTL is the longest that push services keep anything.
const maxTTL = 28 * 24 * time.Hour

// Validate reports what can't be right, one error a key. It reads no files.
func (c Config) Validate() error {
	var errs []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	report(c.VAPIDKeyFile != "", "vapid_key_file: is required: the file with the private VAPID key")
	if err := checkContact(c.Contact); err != nil {
		report(false, "contact: %w", err)
	}
	report(len(c.AllowedEndpoints) > 0, "allowed_endpoints: is empty, so that nobody could be told; ** allows any host that is public")
	for i, host := range c.AllowedEndpoints {
		_, err := glob.Compile(host, '.')
		report(err == nil && host != "" && !strings.ContainsAny(host, "/:@ "), "allowed_endpoints[%d]: %q is not the name of a host such as push.example.org or *.push.example.org", i, host)
	}
	report(c.Format == pushers.FormatFull || c.Format == pushers.FormatEventIDOnly, "format: %q is neither empty nor %s", c.Format, pushers.FormatEventIDOnly)
	report(c.TTL >= 0 && c.TTL <= maxTTL, "ttl: %v is not between 0s and %v", c.TTL, maxTTL)
	_, err := c.relay()
	report(err == nil, "base_url: %w", err)
	return errors.Join(errs...)
}

// checkContact wants what push services take: Apple's refuses tokens whose contact is at localhost.
func checkContact(contact string) error {
	switch address, err := mail.ParseAddress(strings.TrimPrefix(contact, "mailto:")); {
	case contact == "":
		return errors.New("is required: an address such as push@example.org, or an https URL")
	case strings.HasPrefix(contact, "https://"):
		if u, err := url.Parse(contact); err != nil || u.Hostname() == "" {
			return fmt.Errorf("%q is no URL", contact)
		}
		return nil
	case err != nil || address.Name != "" || address.Address != strings.TrimPrefix(contact, "mailto:"):
		return fmt.Errorf("%q is neither an address such as push@example.org nor an https URL", contact)
	case !strings.Contains(address.Address[strings.LastIndexByte(address.Address, '@'):], "."):
		return fmt.Errorf("%q: the host must be one on the internet; Apple's push service takes no other", contact)
	}
	return nil
}

// subject is the contact as a VAPID token has it: a URI (RFC 8292, section 2.1).
func (c Config) subject() string {
	if strings.HasPrefix(c.Contact, "https://") || strings.HasPrefix(c.Contact, "mailto:") {
		return c.Contact
	}
	return "mailto:" + c.Contact
}

// relay is the parsed BaseURL; nil if there is none.
func (c Config) relay() (*url.URL, error) {
	if c.BaseURL == "" {
		return nil, nil
	}
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("it is not an https URL such as https://relay.example.org")
	case u.User != nil:
		return nil, errors.New("it must not have a user or password")
	}
	return u, nil
}
