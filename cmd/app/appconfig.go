package app

// The managed app configuration of Element for iOS, which device management rolls out.

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"tocsin/pushers/gateway"
)

// AppConfigOptions are what Element is told of a deployment. An empty URL but that of the homeserver is left to the app.
type AppConfigOptions struct {
	BundleID   string // of the app, such as im.vector.app; that of one's own build differs
	Homeserver string // base URL of the Client-Server API
	Permalink  string // base URL of links to rooms and events
	Gateway    string // URL of the push gateway that the app registers with its homeserver
}

// managedAppConfiguration is the file as AppConfig has it, with the keys of Element for iOS since 1.11.2.
type managedAppConfiguration struct {
	XMLName  xml.Name     `xml:"managedAppConfiguration"`
	Version  int          `xml:"version"`
	BundleID string       `xml:"bundleId"`
	Strings  []appSetting `xml:"dict>string"`
}

// appSetting is a text that the app reads by its name. The names are the same whatever the app's bundle id is.
type appSetting struct {
	Name  string `xml:"keyName,attr"`
	Value string `xml:"defaultValue>value"`
}

// AppConfig writes the file, as a device management takes it. An error says what is wrong with which flag.
func AppConfig(opts AppConfigOptions, w io.Writer) error {
	c := managedAppConfiguration{Version: 1, BundleID: opts.BundleID}
	if !isBundleID(opts.BundleID) {
		return fmt.Errorf("%w: --bundle-id: %q is no bundle id such as im.vector.app", ErrUsage, opts.BundleID)
	}
	for _, s := range []struct {
		flag, value, name string
		path              func(path string) error
	}{
		{"--homeserver", opts.Homeserver, "im.vector.app.serverConfigDefaultHomeserverUrlString", isBase},
		{"--permalink", opts.Permalink, "im.vector.app.clientPermalinkBaseUrl", isAnyPath},
		{"--gateway", opts.Gateway, "im.vector.app.serverConfigSygnalAPIUrlString", isGateway},
	} {
		if s.value == "" && s.flag != "--homeserver" {
			continue
		}
		value, err := publicURL(s.value, s.path)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrUsage, s.flag, err)
		}
		c.Strings = append(c.Strings, appSetting{s.name, value})
	}
	text, err := encodeAppConfig(c)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// encodeAppConfig reads what it has written: a file that says something else than was asked for would be rolled out to every phone.
func encodeAppConfig(c managedAppConfiguration) ([]byte, error) {
	text, err := xml.MarshalIndent(c, "", "     ") // as Element's documentation shows it
	if err != nil {
		return nil, err
	}
	var read managedAppConfiguration
	d := xml.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&read); err != nil {
		return nil, fmt.Errorf("what was made is no XML: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || read.BundleID != c.BundleID || !slices.Equal(read.Strings, c.Strings) {
		return nil, errors.New("what was made does not say what it should")
	}
	return append(text, '\n'), nil
}

// publicURL is a URL as apps take it, without a slash at its end.
func publicURL(raw string, checkPath func(string) error) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return "", errors.New("is needed: a URL such as https://matrix.example.org")
	case err != nil:
		var parsing *url.Error
		if errors.As(err, &parsing) {
			err = parsing.Err // the URL is said already
		}
		return "", fmt.Errorf("%q is no URL: %w", raw, err)
	case u.Scheme == "http":
		return "", fmt.Errorf("%q must be https: iOS connects to no other", raw)
	case u.Scheme != "https" || u.Hostname() == "":
		return "", fmt.Errorf("%q is no URL such as https://matrix.example.org", raw)
	case u.User != nil:
		return "", errors.New("the URL must not have a user or password: every phone gets to see it")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("%q must not have a query or fragment", raw)
	}
	if err := checkPath(strings.TrimSuffix(u.Path, "/")); err != nil {
		return "", fmt.Errorf("%q: %w", raw, err)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// isBase refuses what people paste from an API's documentation: apps put the path behind it themselves.
func isBase(path string) error {
	if strings.Contains(path+"/", "/_matrix/") {
		return errors.New("write what stands before /_matrix")
	}
	return nil
}

func isAnyPath(string) error { return nil }

// isGateway wants the path that homeservers want.
func isGateway(path string) error {
	if !strings.HasSuffix(path, gateway.StandardPath) {
		return fmt.Errorf("the URL of a push gateway ends with %s", gateway.StandardPath)
	}
	return nil
}

// isBundleID takes letters, digits, hyphens and dots, as Apple does.
func isBundleID(id string) bool {
	return strings.Contains(id, ".") && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}
