package rules

import (
	"math/big"
	"regexp"
	"strconv"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

var memberCountForm = regexp.MustCompile(`^(==|<|>|<=|>=|)([0-9]+)$`)

// slowCount is the definition of room_member_count.
func slowCount(is string, count int) bool {
	m := memberCountForm.FindStringSubmatch(is)
	if m == nil {
		return false
	}
	n, _ := new(big.Int).SetString(m[2], 10)
	c := big.NewInt(int64(count)).Cmp(n)
	return map[string]bool{"": c == 0, "==": c == 0, "<": c < 0, ">": c > 0, "<=": c <= 0, ">=": c >= 0}[m[1]]
}

func FuzzMemberCount(f *testing.F) {
	for _, is := range []string{"2", "==2", "<3", ">=10", "=>2", "<=99999999999999999999", "+1", "", "< 2", "02"} {
		f.Add(is, 2)
	}
	f.Fuzz(func(t *testing.T, is string, count int) {
		if count < 0 {
			return
		}
		quoted, err := jsontext.AppendQuote(nil, is)
		if err != nil {
			return
		}
		cond := parseMemberCount(quoted)
		c := context{room: &Room{MemberCount: count}}
		if got, want := cond.holds(&c), slowCount(is, count); got != want {
			t.Errorf("%q of %d: got %v, want %v", is, count, got, want)
		}
		// Nor may a trigger keep the rule from being asked.
		var facts facts
		facts.reset(maxDigits)
		facts.add(always)
		facts.addCount(count)
		if trigger := triggerOf([]condition{cond}); slowCount(is, count) && !facts.fires(trigger) {
			t.Errorf("%q of %d does not fire", is, count)
		}
	})
}

func FuzzLevel(f *testing.F) {
	for _, raw := range []string{"50", "-1", "12.34", `"100"`, `" 7 "`, `"1_000"`, `"1__0"`, "1e3", "1e400", "true", "null", "[]", `"0x10"`, "99999999999999999999"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !jsontext.Value(raw).IsValid() {
			return
		}
		l := parseLevel(jsontext.Value(raw))
		if n, err := strconv.ParseInt(raw, 10, 64); err == nil && (!l.exact || l.n != n) {
			t.Errorf("%s is read as %+v", raw, l)
		}
		if l.exact && !l.found {
			t.Errorf("%s is exact, but not found", raw)
		}
	})
}

func TestSenderLevel(t *testing.T) {
	t.Parallel()
	levels := ParsePowerLevels([]byte(`{"users":{"@a:hs":70,"@t:hs":"60"},"users_default":5}`))
	for _, tc := range []struct {
		name  string
		room  Room
		user  string
		level int64
		known bool
	}{
		{"of the event", Room{Version: "11", PowerLevels: levels}, "@a:hs", 70, true},
		{"the default of the event", Room{Version: "11", PowerLevels: levels}, "@x:hs", 5, true},
		{"text in an old room", Room{Version: "9", PowerLevels: levels}, "@t:hs", 60, true},
		{"text in a new room", Room{Version: "10", PowerLevels: levels}, "@t:hs", 5, true},
		{"text in a room of an unstable version", Room{Version: "org.matrix.msc1767.10", PowerLevels: levels}, "@t:hs", 5, true},
		{"text in a room of an unknown version", Room{Version: "org.example.x", PowerLevels: levels}, "@t:hs", 60, true},
		{"a creator without an event", Room{Creators: []string{"@c:hs"}}, "@c:hs", 100, true},
		{"another without an event", Room{Creators: []string{"@c:hs"}}, "@x:hs", 0, true},
		{"nothing known", Room{}, "@x:hs", 0, false},
		{"a creator with an event", Room{Version: "11", PowerLevels: levels, Creators: []string{"@c:hs"}}, "@c:hs", 5, true},
		{"a creator in version 12", Room{Version: "12", PowerLevels: levels, Creators: []string{"@c:hs"}}, "@c:hs", infiniteLevel, true},
		{"a creator in what became version 12", Room{Version: "org.matrix.hydra.11", PowerLevels: levels, Creators: []string{"@c:hs"}}, "@c:hs", infiniteLevel, true},
		{"a creator in version 100", Room{Version: "100", PowerLevels: levels, Creators: []string{"@c:hs"}}, "@c:hs", infiniteLevel, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			level, known := tc.room.SenderLevel(tc.user)
			if level != tc.level || known != tc.known {
				t.Errorf("got %d, %v; want %d, %v", level, known, tc.level, tc.known)
			}
		})
	}
}
