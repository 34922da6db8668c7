package fcm

// What an operator can set of an app that is pushed to through FCM.

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config is an app of type `fcm`.
type Config struct {
	ServiceAccountFile string        `yaml:"service_account_file" doc:"key file of the service account that may send for the app, as the Firebase console makes it (JSON); it is read again when it changes"`
	ProjectID          string        `yaml:"project_id" doc:"Firebase project of the app; empty: that of the service account"`
	Content            bool          `yaml:"content" doc:"tell Google what happened, with names and content, where the pusher does not ask for event_id_only; false: ids and counts alone, whatever it asks for"`
	CollapseRooms      bool          `yaml:"collapse_rooms" doc:"of the messages of one room that wait for a device, keep the newest only. FCM keeps those of four rooms then, and loses the others; false: it keeps a hundred messages. Badges always collapse"`
	Overrides          Overrides     `yaml:"fcm_options" doc:"mapping (or a text with a JSON object) of what each message has besides: android, apns, webpush, notification and fcm_options as FCM defines them, which win over what would be there. A badge takes of it the android options alone, without their notification"`
	BaseURL            string        `yaml:"base_url" doc:"where FCM is, for a relay of your own"`
	TokenURL           string        `yaml:"token_url" doc:"where access tokens come from, for a relay of your own; empty: token_uri of the service account"`
	CAFile             string        `yaml:"ca_file" doc:"PEM file of the authorities to trust instead of the system's, for a relay of your own"`
	Timeout            time.Duration `yaml:"timeout" doc:"longest time that an attempt may take, from asking for an access token to the last byte of the answer"`
}

// Defaults are Google's own addresses, and nothing told that need not be.
func Defaults() Config {
	return Config{BaseURL: "https://fcm.googleapis.com", Timeout: 10 * time.Second}
}

// Validate reports what can't be right, one error a key. It reads no files.
func (c Config) Validate() error {
	var errs []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	report(c.ServiceAccountFile != "", "service_account_file: is missing: make a key in the Firebase console, under project settings, service accounts")
	report(c.ProjectID == "" || isProject(c.ProjectID), "project_id: %q is not the id of a project, such as my-app-1234", c.ProjectID)
	report(isHTTPS(c.BaseURL), "base_url: it is not a URL such as https://fcm.googleapis.com")
	report(c.TokenURL == "" || isHTTPS(c.TokenURL), "token_url: it is not a URL such as https://oauth2.googleapis.com/token")
	report(c.Timeout >= 100*time.Millisecond && c.Timeout <= time.Minute, "timeout: %v is not between 100ms and 1m0s", c.Timeout)
	return errors.Join(errs...)
}

// isHTTPS says that raw is an https URL of a host, with or without a path, and has nothing else: no user, no query.
func isHTTPS(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// isProject says that id can stand in a path as it is.
func isProject(id string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:"
	return id != "" && strings.Trim(id, allowed) == "" && strings.Trim(id, ".") != ""
}
