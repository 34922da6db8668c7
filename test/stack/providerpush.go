package stack

// Pushes as they are shown: what each of the fakes received, in one form.

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The push services that [StartProviders] starts.
const (
	ProviderAPNs    = "apns"
	ProviderFCM     = "fcm"
	ProviderWebPush = "webpush"
	ProviderGateway = "gateway"
)

// AllProviders are the push services, in the order in which people are shown them.
func AllProviders() []string {
	return []string{ProviderAPNs, ProviderFCM, ProviderWebPush, ProviderGateway}
}

// ProviderPush is a push that one of the services received, and what became of it.
type ProviderPush struct {
	Provider string
	AppID    string            // of the device, where that is known; else as the app was added; "": of no app that is known
	URL      string            // of a gateway
	Header   map[string]string // those that say something, by their names in small letters; no credentials
	Body     []byte            // as it came; of Web Push, as the browser reads it; nil if that can't be read
	Status   int               // as answered; 0: the client saw no answer
	Fault    string            // why the service itself refused it; "" if it is right
}

// shownHeaders are the headers that say something of a push, beside those whose names begin with apns-.
var shownHeaders = map[string]bool{"content-encoding": true, "content-type": true, "topic": true, "ttl": true, "urgency": true}

// shown are the headers that say something.
func shown(h http.Header) map[string]string {
	picked := map[string]string{}
	for name, values := range h {
		if name = strings.ToLower(name); shownHeaders[name] || strings.HasPrefix(name, "apns-") {
			picked[name] = strings.Join(values, ", ")
		}
	}
	return picked
}

// Line is the push as JSON on one line, without its end: what `tocsin-dev replay` and `tocsin-dev fake-providers` write.
//
//	{"kind":"push","provider":"apns","app_id":"…","headers":{…},"body":{…},"status":200}
//	{"kind":"push","url":"https://…","body":{…},"status":200}        of a gateway
func (p *ProviderPush) Line() []byte {
	line := []byte(`{"kind":"push"`)
	if p.Provider == ProviderGateway {
		line = fmt.Appendf(line, `,"url":%s`, lineText(p.URL))
	} else {
		line = fmt.Appendf(line, `,"provider":%s,"app_id":%s,"headers":{`, lineText(p.Provider), lineText(p.AppID))
		for i, name := range slices.Sorted(maps.Keys(p.Header)) {
			if i > 0 {
				line = append(line, ',')
			}
			line = fmt.Appendf(line, "%s:%s", lineText(name), lineText(p.Header[name]))
		}
		line = append(line, '}')
	}
	return fmt.Appendf(line, `,"body":%s,"status":%d}`, lineValue(p.Body), p.Status)
}

// lineValue is a body as a value that fits into a line: byte for byte if it is JSON, else its text.
func lineValue(body []byte) []byte {
	value := jsontext.Value(body)
	switch {
	case body == nil:
		return []byte("null")
	case !value.IsValid():
		return lineText(string(body))
	}
	if strings.ContainsAny(string(body), "\r\n") {
		value = value.Clone()
		_ = value.Compact() // it was valid: a line is all that it must become
	}
	return value
}

func lineText(text string) []byte {
	quoted, _ := jsontext.AppendQuote(nil, strings.ToValidUTF8(text, "\uFFFD")) // it is UTF-8 now
	return quoted
}

func ofAPNs(push APNsPush) ProviderPush {
	header := http.Header{}
	for name, value := range push.Header {
		header[name] = []string{value}
	}
	p := ProviderPush{Provider: ProviderAPNs, Header: shown(header), Body: push.Payload, Status: push.Status}
	if push.Refused {
		p.Fault = push.Reason
	}
	return p
}

func ofFCM(r FCMRequest) ProviderPush {
	return ProviderPush{Provider: ProviderFCM, Header: shown(r.Header), Body: r.Body, Status: r.Status, Fault: r.Problem}
}

func ofWebPush(m WebPushMessage) ProviderPush {
	p := ProviderPush{Provider: ProviderWebPush, Header: shown(m.Header), Body: m.Text, Status: m.Status}
	if m.Fault != nil {
		p.Fault = m.Fault.Error()
	}
	return p
}

// ofGateway finds the app in the body, whether or not the rest of that is right.
func ofGateway(r Request) ProviderPush {
	p := ProviderPush{Provider: ProviderGateway, URL: r.URL, Header: shown(r.Header), Body: r.Body, Status: r.Status}
	var n struct {
		Notification struct {
			Devices []struct {
				AppID string `json:"app_id"`
			} `json:"devices"`
		} `json:"notification"`
	}
	if json.Unmarshal(r.Body, &n) == nil && len(n.Notification.Devices) > 0 {
		p.AppID = n.Notification.Devices[0].AppID
	}
	return p
}
