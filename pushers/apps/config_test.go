package apps_test

import (
	"strings"
	"testing"
	"time"

	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/fcm"
	"tocsin/pushers/webpush"
)

// What must be right of a gateway of an app.
func TestValidateGateway(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		g    apps.Gateway
		want string // the keys that are reported
	}{
		{apps.Gateway{}, ""},
		{apps.Gateway{URL: "https://own.example/any"}, ""},
		{apps.Gateway{URL: "http://10.0.0.1:8080"}, ""},
		{apps.Gateway{URL: "https://own.example", CAFile: "ca.pem"}, ""},
		{apps.Gateway{CAFile: "ca.pem"}, "ca_file"},
		{apps.Gateway{URL: "own.example"}, "url"},
		{apps.Gateway{URL: "ftp://own.example"}, "url"},
		{apps.Gateway{URL: "https://"}, "url"},
		{apps.Gateway{URL: "https://u:p@own.example"}, "url"},
		{apps.Gateway{URL: "https://own.example/?key=secret"}, "url"},
		{apps.Gateway{URL: "https://own.example/#x"}, "url"},
		{apps.Gateway{URL: "https://own.example/a b"}, "url"},
	} {
		var keys []string
		if err := tc.g.Validate(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				key, _, _ := strings.Cut(line, ":")
				keys = append(keys, key)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "u:p") {
				t.Errorf("%v says what may be a secret", err)
			}
		}
		if got := strings.Join(keys, " "); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.g, got, tc.want)
		}
	}
}

// The slowest app is the one whose own timeout is the longest: of Apple's and Google's, as the others have that of all gateways.
func TestSlowest(t *testing.T) {
	t.Parallel()
	of := func(seconds int) (*apns.Config, *fcm.Config) {
		a, g := apns.Defaults(), fcm.Defaults()
		a.Timeout, g.Timeout = time.Duration(seconds)*time.Second, time.Duration(seconds)*time.Second
		return &a, &g
	}
	a3, g3 := of(3)
	a4, g4 := of(4)
	web := webpush.Defaults()
	for _, tc := range []struct {
		c    apps.Config
		name string
		want int
	}{
		{nil, "", 0},
		{apps.Config{"web": &web, "desk": &apps.Gateway{}}, "", 0},
		{apps.Config{"a": a3, "g": g4, "web": &web}, "g", 4},
		{apps.Config{"a": a4, "g": g3}, "a", 4},
		{apps.Config{"z": a4, "b": g4}, "b", 4},
	} {
		if name, timeout := tc.c.Slowest(); name != tc.name || timeout.Seconds() != float64(tc.want) {
			t.Errorf("%v: %s with %v, want %s with %d s", tc.c, name, timeout, tc.name, tc.want)
		}
	}
}
