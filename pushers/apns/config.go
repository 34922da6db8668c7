package apns

// What an operator can set of an app.

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"tocsin/credential"
)

// The environments of Apple. A device token of one means nothing to the other.
const (
	Production = "production"
	Sandbox    = "sandbox"
)

// The forms of a payload ([Config.Form]).
const (
	FormEventIDOnly = "event_id_only" // ids and counts: the device fetches the rest itself
	FormNames       = "names"         // who and where, as keys of the app's own texts with their arguments
	FormFull        = "full"          // and what
)

// What replaces what on the device ([Config.Collapse]).
const (
	CollapseRoom  = "room"  // the newest notification of a room replaces those before it; a call only a call
	CollapseEvent = "event" // a notification replaces itself alone: when it comes twice, it shows once
	CollapseNone  = "none"
)

// How a pushkey is written ([Config.TokenFormat]).
const (
	TokenBase64 = "base64"
	TokenHex    = "hex"
)

// The push types that are treated by rules of their own ([Config.PushType]). Apple has more, which go out as they are configured.
const (
	PushAlert      = "alert"
	PushBackground = "background"
	PushVoIP       = "voip"
)

// suffixes are what Apple wants behind an app's bundle id in the topic, by push type: all push types that there are. See "Sending notification requests to APNs" at developer.apple.com.
var suffixes = map[string]string{
	PushAlert: "", PushBackground: "", PushVoIP: ".voip", "complication": ".complication", "controls": ".push-type.controls", "fileprovider": ".pushkit.fileprovider",
	"liveactivity": ".push-type.liveactivity", "location": ".location-query", "mdm": "", "pushtotalk": ".voip-ptt", "widgets": ".push-type.widgets",
}

// Config is one app at Apple. Start from [Defaults].
//
// The app proves itself with a key (key_file, key_id, team_id) or with a certificate (cert_file). The names of files are relative to the working directory.
type Config struct {
	Environment  string            `yaml:"environment" doc:"production or sandbox: where the app's device tokens come from. Builds from Xcode have sandbox tokens, all others production ones"`
	BaseURL      string            `yaml:"base_url" doc:"where to push to in place of Apple, such as https://apns-relay.internal: a private relay, or a test"`
	CAFile       string            `yaml:"ca_file" doc:"PEM file of the authorities that the server's certificate may come from, in place of the system's"`
	KeyFile      string            `yaml:"key_file" doc:"the .p8 key for provider tokens, as Apple gives it out. A new file is used at once"`
	KeyID        string            `yaml:"key_id" doc:"name of the key at Apple, ten characters; empty: as the file is called, AuthKey_<key_id>.p8, or what it links to"`
	TeamID       string            `yaml:"team_id" doc:"name of the team that the key belongs to, ten characters"`
	CertFile     string            `yaml:"cert_file" doc:"certificate with its key, .p12 or PEM, in place of a key for tokens. A new file is used at once"`
	CertKeyFile  string            `yaml:"cert_key_file" doc:"PEM file of the certificate's key, if that is not in cert_file"`
	CertPassword credential.Secret `yaml:"cert_password" doc:"password of the certificate's key"`
	Topic        string            `yaml:"topic" doc:"the app's bundle id. What a push type wants behind it is put there"`
	TokenFormat  string            `yaml:"token_format" doc:"how the app writes its device token as pushkey: base64 or hex"`
	PushType     string            `yaml:"push_type" doc:"push type of Apple: alert, background, voip, complication, controls, fileprovider, liveactivity, location, mdm, pushtotalk or widgets. Empty: alert, or background for payloads of which nothing shows"`
	Form         string            `yaml:"form" doc:"what Apple is told of an event: event_id_only, names (of senders and rooms) or full (texts of messages, too). A pusher of the format event_id_only gets that in any case"`
	Events       []string          `yaml:"events" doc:"types of events that the app is told of; empty: all, but for voip the types of calls"`
	IncludeType  bool              `yaml:"include_type" doc:"tell the type of the event, for apps that must know at once that it is a call"`
	Badge        bool              `yaml:"badge" doc:"tell counts: on the badge, and as unread_count"`
	Collapse     string            `yaml:"collapse" doc:"what replaces what on the device: room (the newest of a room its older ones), event (each only itself, should it come twice) or none"`
	Store        bool              `yaml:"store" doc:"let Apple keep a notification for a device that is not connected, until it expires; false: it is tried once"`
	Timeout      time.Duration     `yaml:"timeout" doc:"longest time that one attempt may take"`
	Connections  int               `yaml:"connections" doc:"connections to Apple; each carries as many requests at once as Apple allows, 1000"`
}

// Defaults tell Apple ids and counts alone.
func Defaults() Config {
	return Config{Environment: Production, TokenFormat: TokenBase64, Form: FormEventIDOnly, Badge: true, Collapse: CollapseRoom, Store: true, Timeout: 10 * time.Second, Connections: 1}
}

var (
	tenCharacters = regexp.MustCompile(`^[A-Z0-9]{10}$`)
	bundleID      = regexp.MustCompile(`^[A-Za-z0-9.-]{1,155}$`)
)

// Validate reports what can't be right, one error a key. It reads no files.
func (c Config) Validate() error {
	var errs []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, choice := range []struct {
		key, value string
		allowed    []string
	}{
		{"environment", c.Environment, []string{Production, Sandbox}},
		{"token_format", c.TokenFormat, []string{TokenBase64, TokenHex}},
		{"form", c.Form, []string{FormEventIDOnly, FormNames, FormFull}},
		{"collapse", c.Collapse, []string{CollapseRoom, CollapseEvent, CollapseNone}},
	} {
		report(slices.Contains(choice.allowed, choice.value), "%s: %q is none of %s", choice.key, choice.value, strings.Join(choice.allowed, ", "))
	}
	_, known := suffixes[c.PushType]
	report(known || c.PushType == "", "push_type: %q is none of %s", c.PushType, strings.Join(slices.Sorted(maps.Keys(suffixes)), ", "))
	report(c.BaseURL == "" || isBase(c.BaseURL), "base_url: it is not a URL such as https://apns-relay.internal: https, a host, perhaps a port, and nothing more")
	report(c.Topic == "" || bundleID.MatchString(c.Topic), "topic: %q is no bundle id such as im.vector.app", c.Topic)
	report(c.Timeout >= time.Second && c.Timeout <= time.Minute, "timeout: %v is not between 1s and 1m0s", c.Timeout)
	report(c.Connections >= 1 && c.Connections <= 100, "connections: %d is not between 1 and 100", c.Connections)
	c.validateCredentials(report)
	return errors.Join(errs...)
}

func (c Config) validateCredentials(report func(ok bool, format string, args ...any)) {
	switch {
	case c.KeyFile == "" && c.CertFile == "":
		report(false, "key_file: is missing: the app needs a key for tokens, or cert_file")
	case c.KeyFile != "" && c.CertFile != "":
		report(false, "cert_file: is set beside key_file: the app proves itself with one of them")
	}
	if c.KeyFile != "" {
		report(c.KeyID == "" || tenCharacters.MatchString(c.KeyID), "key_id: %q is not ten letters and digits, as Apple shows it with the key", c.KeyID)
		report(c.TeamID != "", "team_id: is missing: ten letters and digits, as Apple shows it in the account's membership")
		report(c.TeamID == "" || tenCharacters.MatchString(c.TeamID), "team_id: %q is not ten letters and digits, as Apple shows it in the account's membership", c.TeamID)
		report(c.Topic != "", "topic: is missing: the app's bundle id, which a token does not tell")
	} else {
		report(c.KeyID == "", "key_id: is set without key_file")
		report(c.TeamID == "", "team_id: is set without key_file")
	}
	if c.CertFile == "" {
		report(c.CertKeyFile == "", "cert_key_file: is set without cert_file")
		report(c.CertPassword.IsZero(), "cert_password: is set without cert_file")
	}
}

func isBase(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == ""
}

// base is the URL before the path, without a slash at its end.
func (c Config) base() string {
	switch {
	case c.BaseURL != "":
		return strings.TrimRight(c.BaseURL, "/")
	case c.Environment == Sandbox:
		return hostSandbox
	}
	return hostProduction
}

// files are those whose change means new credentials.
func (c Config) files() []string {
	var files []string
	for _, file := range []string{c.KeyFile, c.CertFile, c.CertKeyFile} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// tells says whether the app is told of events of that type at all.
func (c *Config) tells(eventType string) bool {
	switch {
	case len(c.Events) > 0:
		return slices.Contains(c.Events, eventType)
	case c.PushType == PushVoIP: // the system ends an app that shows no call then
		return isCall(eventType)
	}
	return true
}

// isCall tells what rings: calls of two, and what announces those of a room (MSC4075 with its older names).
func isCall(eventType string) bool {
	switch eventType {
	case "m.call.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification", "m.call.notify", "org.matrix.msc4075.call.notify":
		return true
	}
	return false
}
