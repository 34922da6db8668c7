package main

import (
	"encoding/xml"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAppConfig(t *testing.T) {
	t.Parallel()
	all := []string{"appconfig", "--homeserver", "https://matrix.example.org/", "--permalink", "https://messenger.example.org", "--gateway", "https://push.example.org/_matrix/push/v1/notify"}
	for file, args := range map[string][]string{
		"testdata/appconfig.xml":            all,
		"testdata/appconfig_homeserver.xml": {"appconfig", "--homeserver=https://matrix.example.org:8448"},
		"testdata/appconfig_own.xml":        append(all[:3:3], "--bundle-id=org.example.messenger", "--permalink=https://messenger.example.org/a&b<>\"'/"),
	} {
		status, stdout, stderr := run(t, nil, args...)
		if status != succeeded || stderr != "" {
			t.Errorf("%v: status %d, %s", args, status, stderr)
		}
		if *update {
			if err := os.WriteFile(file, []byte(stdout), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(mustRead(t, file), stdout); diff != "" {
			t.Errorf("%s: -want +got (-update writes it):\n%s", file, diff)
		}
		var read struct {
			XMLName  xml.Name `xml:"managedAppConfiguration"`
			BundleID string   `xml:"bundleId"`
		}
		if err := xml.Unmarshal([]byte(stdout), &read); err != nil || read.BundleID == "" {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAppConfigFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "missing flags: --homeserver=URL"},
		{[]string{"--homeserver="}, "--homeserver: is needed: a URL such as https://matrix.example.org"},
		{[]string{"--homeserver", "matrix.example.org"}, `--homeserver: "matrix.example.org" is no URL such as https://matrix.example.org`},
		{[]string{"--homeserver", "http://matrix.example.org"}, `--homeserver: "http://matrix.example.org" must be https`},
		{[]string{"--homeserver", "https://matrix.example.org/_matrix/client"}, "write what stands before /_matrix"},
		{[]string{"--homeserver", "https://a:geheim@matrix.example.org"}, "--homeserver: the URL must not have a user or password"},
		{[]string{"--homeserver", "https://matrix.example.org:geheim"}, "invalid port"},
		{[]string{"--homeserver", "https://a.example", "--permalink", "https://b.example/#/"}, `--permalink: "https://b.example/#/" must not have a query or fragment`},
		{[]string{"--homeserver", "https://a.example", "--gateway", "https://b.example"}, `--gateway: "https://b.example": the URL of a push gateway ends with /_matrix/push/v1/notify`},
		{[]string{"--homeserver", "https://a.example", "--bundle-id", "<app>"}, `--bundle-id: "<app>" is no bundle id such as im.vector.app`},
	} {
		status, stdout, stderr := run(t, nil, append([]string{"appconfig"}, tc.args...)...)
		if status != misused || stdout != "" || !strings.Contains(stderr, tc.want) {
			t.Errorf("%v: status %d, %q, want %q", tc.args, status, stderr, tc.want)
		}
	}
}
