package rules

// This file is power levels: who may notify a whole room.

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The power levels that hold where a room does not say otherwise.
const (
	defaultNotificationLevel = 50
	creatorLevel             = 100           // without a power levels event
	infiniteLevel            = math.MaxInt64 // creators from room version 12 on
)

// PowerLevels are the levels of one m.room.power_levels event as far as push
// rules need them. The zero value means that the room has no such event.
type PowerLevels struct {
	present       bool
	users         map[string]level
	usersDefault  level
	notifications map[string]level
}

// level is a power level as found. Rooms up to version 9 may hold floats and
// numbers as text; in later ones only integers count.
type level struct {
	n     int64
	found bool // n is a level, if only by conversion
	exact bool // it is a JSON integer
}

// in returns the level as a room of that version reads it.
func (l level) in(version int) (int64, bool) {
	return l.n, l.exact || l.found && version < 10
}

// ParsePowerLevels reads the content of an m.room.power_levels event. What has a
// wrong type is taken as absent; content that is no object is an event without
// any levels; nil is no event.
func ParsePowerLevels(content []byte) PowerLevels {
	if content == nil {
		return PowerLevels{}
	}
	p := PowerLevels{present: true}
	_ = eachMember(content, func(name string, value jsontext.Value) {
		switch name {
		case "users":
			p.users = parseLevels(value)
		case "users_default":
			p.usersDefault = parseLevel(value)
		case "notifications":
			p.notifications = parseLevels(value)
		}
	})
	return p
}

func parseLevels(raw jsontext.Value) map[string]level {
	levels := make(map[string]level)
	_ = eachMember(raw, func(name string, value jsontext.Value) {
		if l := parseLevel(value); l.found {
			levels[name] = l
		}
	})
	return levels
}

// parseLevel reads one level as Python's int() does, because that is what the
// rooms of old versions were built on: 12.9 is 12, " 100 " is 100, true is 1;
// "12.9" and null are nothing.
func parseLevel(v jsontext.Value) level {
	switch v.Kind() {
	case 't':
		return level{n: 1, found: true}
	case 'f':
		return level{n: 0, found: true}
	case '"':
		s, _ := stringOf(v)
		n, ok := parseDigits(strings.TrimSpace(s))
		return level{n: n, found: ok}
	case '0':
		if n, ok := parseDigits(string(v)); ok {
			return level{n: n, found: true, exact: true}
		}
		f, err := parseFloat(v)
		if err != nil || math.Abs(f) >= 1<<63 {
			return level{}
		}
		return level{n: int64(f), found: true}
	}
	return level{}
}

// parseDigits reads a decimal integer with an optional sign and single
// underscores between digits. What is beyond 64 bits is cut to their range.
func parseDigits(s string) (int64, bool) {
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || digits == "" {
		return 0, false
	}
	for _, group := range strings.Split(digits, "_") {
		if group == "" || strings.Trim(group, "0123456789") != "" {
			return 0, false
		}
	}
	n, _ := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	return n, true
}
