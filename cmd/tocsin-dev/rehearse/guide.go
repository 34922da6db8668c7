package rehearse

// What the operator is told at the start: a configuration for the worker, and devices to push to.

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/test/stack"
)

// guide adds the apps, writes apps.yaml and pushers.jsonl, and tells of both.
func (r *rehearsal) guide(control string) error {
	var yaml, pushers bytes.Buffer
	yaml.WriteString("apps:\n")
	for _, provider := range r.only {
		for _, name := range r.opts.Apps[provider] {
			app, err := r.providers.Add(provider, name, "")
			if err != nil {
				return err
			}
			writeApp(&yaml, app)
			if line := r.pusher(app); line != nil {
				pushers.Write(append(line, '\n'))
			}
		}
	}
	for name, content := range map[string][]byte{"apps.yaml": yaml.Bytes(), "pushers.jsonl": pushers.Bytes()} {
		if err := os.WriteFile(filepath.Join(r.opts.Data, name), content, 0o600); err != nil {
			return err
		}
	}
	r.tell(fmt.Sprintf(`The push services are there. The worker needs this in its configuration (%[1]s/apps.yaml):

%[2]s
Made-up devices, to be set as pushers by POST /_matrix/client/v3/pushers/set (%[1]s/pushers.jsonl):

%[3]s
Commands come as JSON lines on the standard input, or by HTTP:

  curl -d '{"outage":{"provider":%[5]q,"how":"refused"}}' %[4]s
  curl %[4]s

Each push is a line on the standard output. Ctrl-C ends it.`, r.opts.Data, &yaml, &pushers, control, r.only[0]))
	return nil
}

// writeApp writes an app as section apps has it.
func writeApp(to *bytes.Buffer, app *stack.ProviderApp) {
	fmt.Fprintf(to, "  %s:\n    type: %s\n", quote(app.Name), app.Provider)
	for _, s := range app.Settings {
		fmt.Fprintf(to, "    %s: %s\n", s.Key, quote(s.Value))
	}
	switch app.Provider {
	case stack.ProviderAPNs:
		fmt.Fprintf(to, "    topic: %s # or whatever it is: any is taken\n    # With a certificate, in place of key_file, key_id and team_id:\n", quote(app.Topic))
		for _, s := range app.Certificate {
			fmt.Fprintf(to, "    # %s: %s\n", s.Key, quote(s.Value))
		}
	case stack.ProviderWebPush:
		fmt.Fprintf(to, "    allowed_endpoints: [\"**\"] # of whatever push service: all is sent to base_url\n")
	}
}

// quote writes a text as YAML can have it.
func quote(text string) string {
	quoted, _ := jsontext.AppendQuote(nil, strings.ToValidUTF8(text, "\uFFFD")) // it is UTF-8
	return string(quoted)
}

// pusher is a device of the app as a client would set it as a pusher, on one line; nil if nobody knows an app id that the app's pattern matches.
func (r *rehearsal) pusher(app *stack.ProviderApp) []byte {
	appID := strings.NewReplacer("*", "rehearsal", "?", "r").Replace(app.Name)
	if strings.ContainsAny(appID, `{}[]\`) {
		return nil
	}
	r.providers.Register(appID, app.Pushkey, app.Endpoint)
	gateway := cmp.Or(r.providers.URL(stack.ProviderGateway), "https://push.example.org")
	data := map[string]any{"url": gateway + "/_matrix/push/v1/notify"}
	if app.Provider == stack.ProviderAPNs { // as Element for iOS registers: without it there is nothing to show
		data["default_payload"] = map[string]any{"aps": map[string]any{"mutable-content": 1, "alert": map[string]any{"loc-key": "Notification", "loc-args": []string{}}}}
	}
	if app.Endpoint != "" {
		data["endpoint"], data["auth"] = app.Endpoint, app.Auth
	}
	line, err := json.Marshal(map[string]any{
		"kind": "http", "app_id": appID, "pushkey": app.Pushkey, "app_display_name": "Rehearsal", "device_display_name": "a made-up device", "lang": "en", "data": data,
	}, json.Deterministic(true))
	if err != nil {
		return nil // never: these are texts
	}
	return line
}
