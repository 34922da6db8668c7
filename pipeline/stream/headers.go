package stream

// Headers of records: the names that tocsin knows, and what is carried on.

import (
	"slices"
	"strings"
)

// Headers that tell where a dead letter came from and why. They are also the reason why no other header begins with "tocsin-".
const (
	HeaderStage           = "tocsin-stage"            // the stage that gave it up
	HeaderReason          = "tocsin-reason"           // one of few words
	HeaderDetail          = "tocsin-detail"           // for people, at most 256 bytes, without content or secrets
	HeaderOriginTopic     = "tocsin-origin-topic"     // where the record was read
	HeaderOriginPartition = "tocsin-origin-partition" //
	HeaderOriginOffset    = "tocsin-origin-offset"    //
	HeaderOriginTime      = "tocsin-origin-time"      // the record's own time, milliseconds
	HeaderAttempts        = "tocsin-attempts"         // how often it was tried
	HeaderTime            = "tocsin-time"             // when it was given up, milliseconds
	HeaderOriginalSize    = "tocsin-original-size"    // bytes that the value had; present only if it was cut, because it was too large for the dead-letter topic
)

// Headers by which a homeserver tells how a room event is meant. They are meant for the rooms stage alone.
const (
	HeaderNotify         = "notify"          // "false": notifies nobody
	HeaderState          = "state"           // "false": never changes state
	HeaderStreamPosition = "stream-position" // the homeserver's own order
)

const ourPrefix = "tocsin-"

// CarryHeaders is what a record that follows from another one takes over from it: traceparent and everything unknown, but not our own headers, nor
// those that direct the rooms stage.
func CarryHeaders(in []Header) []Header {
	return slices.DeleteFunc(slices.Clone(in), func(h Header) bool {
		switch h.Key {
		case HeaderNotify, HeaderState, HeaderStreamPosition:
			return true
		}
		return isOurs(h)
	})
}

func isOurs(h Header) bool { return strings.HasPrefix(h.Key, ourPrefix) }
