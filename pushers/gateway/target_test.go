package gateway

import (
	"errors"
	"strings"
	"testing"

	"tocsin/pushers/outbound"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	strict, plain := Config{}, Config{AllowHTTP: true}
	own, any := Config{Path: "/push"}, Config{Path: AnyPath, AllowHTTP: true}
	for _, tc := range []struct {
		name string
		cfg  Config
		url  string
		want string // part of the error; "" if the URL is taken
	}{
		{"standard", strict, "https://push.example/_matrix/push/v1/notify", ""},
		{"with a port", strict, "https://push.example:8443/_matrix/push/v1/notify", ""},
		{"with a query", strict, "https://push.example/_matrix/push/v1/notify?app=1", ""},
		{"scheme in capitals", strict, "HTTPS://push.example/_matrix/push/v1/notify", ""},
		{"http allowed", plain, "http://push.example/_matrix/push/v1/notify", ""},
		{"own path", own, "https://push.example/push", ""},
		{"any path", any, "http://push.example", ""},
		{"http", strict, "http://push.example/_matrix/push/v1/notify", "http://push.example: it must be https (delivery.allow_http allows http)"},
		{"other scheme", any, "gopher://push.example/_matrix/push/v1/notify", `the scheme must be https, not "gopher"`},
		{"file", any, "file:///etc/passwd", `the scheme must be https, not "file"`},
		{"no scheme", any, "//push.example/_matrix/push/v1/notify", `the scheme must be https, not ""`},
		{"nothing", any, "", `the scheme must be https, not ""`},
		{"no host", any, "https:///_matrix/push/v1/notify", "it names no host"},
		{"opaque", any, "https:push.example", "it names no host"},
		{"only a port", any, "https://:443/_matrix/push/v1/notify", "it names no host"},
		{"a number", any, "http://2130706433/", "2130706433: the host is a number"},
		{"a hexadecimal number", any, "http://0x7f000001/", "the host is a number"},
		{"an octal number", any, "http://017700000001:81/", "the host is a number"},
		{"octal parts", any, "http://0177.0.0.1/", "the host is a number"},
		{"hexadecimal parts", any, "http://0x7f.0.0.0X1/", "the host is a number"},
		{"too few parts", any, "http://127.1/", "the host is a number"},
		{"too many parts", any, "http://1.127.0.0.1/", "the host is a number"},
		{"a part that is too large", any, "http://127.0.0.256/", "the host is a number"},
		{"a number with a dot", any, "http://127.0.0.1./", "the host is a number"},
		{"a name that begins with a number", any, "http://127.0.0.1.nip.example/", ""},
		{"a name of hexadecimal digits", any, "http://0xcafe.example/", ""},
		{"a long name", any, "http://" + strings.Repeat("a.", 127) + "/", ""},
		{"too long a name", any, "http://" + strings.Repeat("a.", 128) + "/", "its host is longer than a name can be"},
		{"user", strict, "https://user:geheim@push.example/_matrix/push/v1/notify", "push.example: it must not have a user or password"},
		{"user that looks like a host", strict, "https://push.example@10.0.0.1/_matrix/push/v1/notify", "10.0.0.1: it must not have a user or password"},
		{"empty user", strict, "https://@push.example/_matrix/push/v1/notify", "push.example: it must not have a user or password"},
		{"backslash for a slash", any, `http://push.example\@10.0.0.1/`, "invalid userinfo"},
		{"user with a host and a port", any, "http://push.example:80@10.0.0.1:81/", "10.0.0.1:81: it must not have a user or password"},
		{"user behind an escape", any, "http://push.example%2F@10.0.0.1/", "10.0.0.1: it must not have a user or password"},
		{"an at sign in the fragment", strict, "https://push.example#@10.0.0.1/_matrix/push/v1/notify", "push.example: the path must be"},
		{"an at sign in the query", strict, "https://push.example?@10.0.0.1/_matrix/push/v1/notify", "push.example: the path must be"},
		{"other path", strict, "https://push.example/notify?geheim", "push.example: the path must be /_matrix/push/v1/notify (delivery.gateway_path allows another)"},
		{"slash behind", strict, "https://push.example/_matrix/push/v1/notify/", "the path must be"},
		{"path in capitals", strict, "https://push.example/_Matrix/push/v1/notify", "the path must be"},
		{"dots", strict, "https://push.example/x/../_matrix/push/v1/notify", "the path must be"},
		{"escaped slash", strict, "https://push.example/_matrix%2Fpush/v1/notify", "the path must be"},
		{"escaped letter", strict, "https://push.example/_matri%78/push/v1/notify", "the path must be"},
		{"standard where another is asked", own, "https://push.example/_matrix/push/v1/notify", "the path must be /push"},
		{"line break", any, "https://push.example/\r\nX: geheim", "invalid control character"},
		{"bad escape", any, "https://push.example/%zz", "invalid URL escape"},
		{"bad port", any, "https://push.example:geheim/", "invalid port"},
		{"bracket", any, "https://[::1/", "missing ']' in host"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u, err := tc.cfg.target(tc.url)
			if tc.want == "" {
				if err != nil || u == nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var refused *outbound.Refusal
			if !errors.As(err, &refused) || refused.Reason != outbound.BadURL || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v and the error %v, want %q", u, err, tc.want)
			}
			if strings.Contains(err.Error(), "geheim") && tc.name != "bad port" { // which the host is at fault for, not a secret
				t.Errorf("the error shows what it must not: %v", err)
			}
		})
	}
}

func TestService(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://push.example/_matrix/push/v1/notify": "push.example:443",
		"https://PUSH.Example.:443/other?x":           "push.example:443",
		"https://push.example:8443/":                  "push.example:8443",
		"http://push.example/":                        "push.example:80",
		"https://[::1]/":                              "[::1]:443",
		"https://%zz":                                 "",
		"/only/a/path":                                "",
		"https://" + strings.Repeat("x", 1000) + "/":  "",
	} {
		if got := Service(raw); got != want {
			t.Errorf("%.40s: got %v, want %s", raw, got, want)
		}
	}
}
