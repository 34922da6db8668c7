package pipeline

import (
	"slices"
	"testing"
)

func mustCompile(t *testing.T, patterns ...string) Appservices {
	t.Helper()
	a, err := CompileAppservices(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAppservices(t *testing.T) {
	t.Parallel()
	a := mustCompile(t, `@irc_.*`, `^@bot:hs\.example$`, `@(tele|signal)gram_.*:hs\.example`, `(?i)@loud`)
	for user, want := range map[string]bool{
		"@irc_a:hs.example": true, "@IRC_a:hs.example": false, "@x@irc_a:hs.example": false,
		"@bot:hs.example": true, "@bot:hs.example.org": false, "@bots:hs.example": false,
		"@telegram_7:hs.example": true, "@telegram_7:hs.example.org": true, // the end is not anchored
		"@signalgram_7:other": false, "@LOUDER:hs.example": true, "@alice:hs.example": false, "": false,
	} {
		if got := a.Match(user); got != want {
			t.Errorf("Match(%q) = %v, want %v", user, got, want)
		}
	}
	for _, bad := range []string{`@(`, `a)|(b`, `(?=@a)`, `.*`, ``, `|@a`} {
		if CheckAppservice(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if some, err := CompileAppservices([]string{"@(", "@a"}); err == nil || len(some) != 1 {
		t.Errorf("%d namespaces, %v", len(some), err)
	}
}

// Users of application services are told nothing, and are members all the same.
func TestAppserviceUsersAreNotTold(t *testing.T) {
	t.Parallel()
	r := NewRoom("!r:hs.example", Homeserver{Name: testServer, Appservices: mustCompile(t, "@irc_")})
	foldAll(r, join("@a:hs.example", ""), join("@irc_a:hs.example", ""))
	r.LocalJoined()
	foldAll(r, join("@irc_b:hs.example", ""), join("@c:hs.example", ""))
	if got := r.LocalJoined(); !slices.Equal(got, []string{"@a:hs.example", "@c:hs.example"}) || r.Rules.MemberCount != 4 {
		t.Errorf("told are %v of %d", got, r.Rules.MemberCount)
	}
	invite := newStateEvent("m.room.member", "@a:hs.example", "@irc_c:hs.example", `{"membership":"invite"}`)
	if got := Recipients(r, invite, 10); len(got) != 0 {
		t.Errorf("an invite goes to %v", got)
	}
}
