package fcm

// What Google says when something is wrong.

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// fault is the body of an answer that is no success (Google APIs, error model: google.rpc.Status). The zero value is an answer of somebody else, such as a proxy.
type fault struct {
	status  string // "INVALID_ARGUMENT"
	message string // for people: it may repeat what was sent, so it is shown only where that was nobody's
	code    string // of the FcmError among the details, which is what FCM itself says; "" if FCM says nothing

	reason     string        // of ErrorInfo: "ACCESS_TOKEN_EXPIRED"
	unit       string        // of ErrorInfo, about a quota: "1/min/{project}"
	fields     []string      // of BadRequest: "message.token"
	violations []string      // of QuotaFailure, in words
	retryDelay time.Duration // of RetryInfo
	apns       string        // of ApnsError: the reason that Apple gave
}

// detail is any of the types that details are known to have.
type detail struct {
	Type       string `json:"@type"`
	ErrorCode  string `json:"errorCode"`
	Reason     string `json:"reason"`
	Violations []struct {
		Subject     string `json:"subject"`
		Description string `json:"description"`
	} `json:"violations"`
	FieldViolations []struct {
		Field string `json:"field"`
	} `json:"fieldViolations"`
	RetryDelay string `json:"retryDelay"`
	Metadata   struct {
		QuotaUnit string `json:"quota_unit"`
	} `json:"metadata"`
}

// readFault reads the body of an answer. Details of unknown types, and of types that are not what they should be, are left out.
func readFault(raw []byte) fault {
	var reply struct {
		Error struct {
			Status  string           `json:"status"`
			Message string           `json:"message"`
			Details []jsontext.Value `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &reply) != nil {
		return fault{}
	}
	f := fault{status: reply.Error.Status, message: reply.Error.Message}
	for _, one := range reply.Error.Details {
		var d detail
		if json.Unmarshal(one, &d) == nil {
			f.add(d)
		}
	}
	return f
}

func (f *fault) add(d detail) {
	switch d.Type[strings.LastIndexByte(d.Type, '/')+1:] {
	case "google.firebase.fcm.v1.FcmError":
		f.code = d.ErrorCode
	case "google.firebase.fcm.v1.ApnsError":
		f.apns = d.Reason
	case "google.rpc.ErrorInfo":
		f.reason, f.unit = d.Reason, d.Metadata.QuotaUnit
	case "google.rpc.BadRequest":
		for _, v := range d.FieldViolations {
			f.fields = append(f.fields, v.Field)
		}
	case "google.rpc.QuotaFailure":
		for _, v := range d.Violations {
			f.violations = append(f.violations, v.Subject+" "+v.Description)
		}
	case "google.rpc.RetryInfo":
		f.retryDelay, _ = time.ParseDuration(d.RetryDelay)
	}
}

// isOurs says that the body is one of Google's, not that of a proxy or of a page.
func (f *fault) isOurs() bool { return f.status != "" }

// String is what can be told in logs: names alone, no words, because those may repeat what was sent.
func (f *fault) String() string {
	parts := []string{name(f.status), name(f.code), name(f.reason), name(f.apns)}
	for _, field := range f.fields {
		field, _, _ = strings.Cut(field, "[") // what follows may be a name that a user made up
		parts = append(parts, name(field))
	}
	told := parts[:0]
	for _, p := range parts {
		if p != "" && (len(told) == 0 || told[len(told)-1] != p) {
			told = append(told, p)
		}
	}
	return strings.Join(told[:min(len(told), 8)], " ")
}

// isMessageName says that the body of an answer is the name of a message that FCM took.
func isMessageName(raw []byte) bool {
	var message struct {
		Name string `json:"name"`
	}
	return json.Unmarshal(raw, &message) == nil && message.Name != ""
}

// name is s if it is a name of Google's, else "".
func name(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
	if len(s) > 64 || strings.Trim(s, letters) != "" {
		return ""
	}
	return s
}
