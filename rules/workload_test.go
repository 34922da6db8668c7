package rules

// This file is the workload of the benchmarks: a room with many recipients, as a
// file has it or, without one, of the same form and made up.

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// workload is a room, its recipients with their rules, and events in it.
type workload struct {
	Room struct {
		ID          string         `json:"room_id"`
		MemberCount int            `json:"member_count"`
		PowerLevels jsontext.Value `json:"power_levels"`
	} `json:"room"`
	Events     []jsontext.Value `json:"events"`
	Recipients []struct {
		UserID      string         `json:"user_id"`
		DisplayName string         `json:"display_name"`
		Global      jsontext.Value `json:"global"`
	} `json:"recipients"`
}

// loadWorkload reads the file that TOCSIN_WORKLOAD names, or makes a workload of
// 10,000 recipients.
func loadWorkload(b testing.TB) *workload {
	b.Helper()
	raw := []byte(madeUpWorkload(10_000))
	if file := os.Getenv("TOCSIN_WORKLOAD"); file != "" {
		var err error
		if raw, err = os.ReadFile(file); err != nil {
			b.Fatal(err)
		}
	}
	var w workload
	if err := json.Unmarshal(raw, &w); err != nil {
		b.Fatal(err)
	}
	return &w
}

// room returns the room of the workload.
func (w *workload) room() *Room {
	return &Room{Version: "11", MemberCount: w.Room.MemberCount, PowerLevels: ParsePowerLevels(w.Room.PowerLevels), Creators: []string{"@creator:hs"}}
}

// recipients returns the first n recipients with their rules compiled.
func (w *workload) recipients(n int) []Recipient {
	c := NewCompiler(Options{})
	list := make([]Recipient, min(n, len(w.Recipients)))
	for i := range list {
		from := &w.Recipients[i]
		list[i] = Recipient{UserID: from.UserID, DisplayName: from.DisplayName}
		list[i].Rules, _ = c.Compile([]byte(`{"global":` + string(from.Global) + `}`))
	}
	return list
}

// madeUpWorkload is a workload in which seven in ten recipients have changed
// nothing, and the others have keywords, muted rooms, senders and rules of all
// kinds.
func madeUpWorkload(n int) string {
	g := rand.New(rand.NewPCG(7, 7))
	words := strings.Fields(`lorem ipsum dolor amet cake release outage deploy invoice matrix kafka budget holiday meeting lunch server upgrade review
		tomorrow monday friday incident ticket customer alice build broken green merge rebase docs test flaky coffee train weather`)
	word := func() string { return words[g.IntN(len(words))] }
	sentence := func() string {
		s := make([]string, 6+g.IntN(20))
		for i := range s {
			s[i] = word()
		}
		return strings.Join(s, " ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"room":{"room_id":"!big:hs","member_count":%d,"power_levels":{"users":{"@user1:hs":100},"notifications":{"room":50}}},"events":[`, n)
	for i := range 40 {
		if i > 0 {
			b.WriteString(",")
		}
		mentions := ""
		switch i % 4 {
		case 1:
			mentions = fmt.Sprintf(`,"m.mentions":{"user_ids":["@user%d:hs"]}`, g.IntN(n))
		case 2, 3:
			mentions = `,"m.mentions":{}`
		}
		fmt.Fprintf(&b, `{"type":"m.room.message","event_id":"$event%d","room_id":"!big:hs","sender":"@user%d:hs","origin_server_ts":1700000000000,"content":{"msgtype":"m.text","body":"%s"%s},"unsigned":{"age":5}}`,
			i, g.IntN(n), sentence(), mentions)
	}
	b.WriteString(`],"recipients":[`)
	for i := range n {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"user_id":"@user%d:hs","display_name":"%s %s %d","global":{%s}}`, i, strings.ToUpper(word()[:1])+word(), word(), i, madeUpRules(g, word))
	}
	b.WriteString("]}")
	return b.String()
}

func madeUpRules(g *rand.Rand, word func() string) string {
	if g.IntN(10) < 7 {
		return ""
	}
	list := func(n int, one func() string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = one()
		}
		return strings.Join(parts, ",")
	}
	return `"override":[` + list(g.IntN(4), func() string {
		return fmt.Sprintf(`{"rule_id":"mute%d","conditions":[{"kind":"event_match","key":"room_id","pattern":"!room%d:hs"}],"actions":[]}`, g.IntN(1e6), g.IntN(1e6))
	}) + `],"content":[` + list(g.IntN(4), func() string {
		w := word()
		return fmt.Sprintf(`{"rule_id":"%s","pattern":"%s%d","actions":["notify",{"set_tweak":"highlight"}]}`, w, w, g.IntN(40))
	}) + `],"room":[` + list(g.IntN(3), func() string {
		return fmt.Sprintf(`{"rule_id":"!room%d:hs","actions":["notify"]}`, g.IntN(1e6))
	}) + `],"sender":[` + list(g.IntN(2), func() string {
		return fmt.Sprintf(`{"rule_id":"@user%d:hs","actions":["notify"]}`, g.IntN(1e6))
	}) + `],"underride":[` + list(g.IntN(2), func() string {
		return fmt.Sprintf(`{"rule_id":"custom%d","conditions":[{"kind":"room_member_count","is":"<%d"},{"kind":"event_match","key":"content.body","pattern":"%s*"}],"actions":["notify"]}`,
			g.IntN(1e6), g.IntN(20), word())
	}) + `]`
}
