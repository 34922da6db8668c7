// Package model lets the rooms and the users stage live through random worlds, beside a slow and obvious model of what a homeserver's users have unread.
package model

// The model: every event that was ever sent, once, and every receipt. What follows from them is worked out anew each time it is asked for.
// It is written from the specification and the README, and shares nothing with the stages.

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// position is where an event stands in its room. The room's numbering begins again with each epoch.
type position struct {
	epoch int
	raw   int64 // the homeserver's stream position, or the offset
	reset int   // counts what became state once more at the same raw
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.epoch, q.epoch), cmp.Compare(p.raw, q.raw), cmp.Compare(p.reset, q.reset))
}

func (p position) upTo(q position) bool { return p.compare(q) <= 0 }

// origin is what decides an event's position.
type origin struct {
	stream                  int64 // -1: the homeserver sends none
	incarnation             int64
	partition               int
	offset                  int64
	at                      time.Time
	notifyFalse, stateFalse bool
}

// numbering names the row of numbers that a position is taken from.
type numbering struct {
	stream      bool
	incarnation int64
	partition   int
}

func (o *origin) numbering() numbering {
	if o.stream >= 0 {
		return numbering{stream: true, incarnation: o.incarnation}
	}
	return numbering{incarnation: o.incarnation, partition: o.partition}
}

// event is an event as its sender meant it, and what the model has made of it.
type event struct {
	id       string // "": left out
	mark     int    // stands in the content: by it a push is recognised
	room     string
	kind     string
	sender   string
	stateKey *string

	membership, name string   // of m.room.member
	msgtype, body    string   // of m.room.message
	mentions         []string // m.mentions.user_ids
	mentionsRoom     bool     // m.mentions.room
	mentionsAny      bool     // there is an m.mentions
	relType, relates string   // m.relates_to
	redacts          string   // of m.room.redaction
	call, invitee    string   // of m.call.*

	at       position
	thread   string // root; "": main
	depth    int
	told     map[string]map[string]decision // by user and profile tag ("": global)
	redacted bool
	void     bool // never part of the room's state: such an event answers no call
}

// decision is what a user's rules make of an event.
type decision struct{ notify, highlight bool }

// receipt says that a user has read up to an event.
type receipt struct {
	user, event, thread string
	at                  time.Time
	resolved            bool
	upTo                position
}

// stay is one thing that happened to a user's membership.
type stay struct {
	membership string
	sender     string
	at         position
	ignored    bool // of an invite: the user ignored the sender
}

// member is a user's membership as it is now.
type member struct {
	membership, name, event string
	at                      position
}

// room is everything that happened in a room.
type room struct {
	id        string
	creator   string
	events    []*event
	byID      map[string]*event
	receipts  []*receipt
	stays     map[string][]stay
	members   map[string]*member
	numbering *numbering
	last      position
}

// user is a local user, as matrix.account tells of them.
type user struct {
	id       string
	ignores  map[string]bool
	mutes    map[string]string // by room: muteAll, muteMentions
	members  bool              // a rule of the user's own: every membership event notifies
	keyword  bool              // a rule of the user's own for the word "tea"
	pushers  []*phone
	bothTags bool // rules for the profile tags "hush" and "loud"
}

const (
	muteAll      = "all"      // an override rule for the room that does nothing
	muteMessages = "messages" // a room rule that does nothing: mentions still notify
)

// homeserver is all rooms and users.
type homeserver struct {
	rooms map[string]*room
	users map[string]*user
}

func (r *room) joined(userID string) bool { return r.membership(userID) == "join" }

func (r *room) membership(userID string) string {
	if m := r.members[userID]; m != nil {
		return m.membership
	}
	return ""
}

// place gives an event a position.
func (r *room) place(o *origin) position {
	if n := o.numbering(); r.numbering == nil || *r.numbering != n {
		r.numbering = &n
		r.last.epoch++
		r.last = position{epoch: r.last.epoch}
	}
	p := position{epoch: r.last.epoch, raw: o.offset}
	if o.stream >= 0 {
		p.raw = o.stream
	}
	if r.last.compare(p) < 0 {
		r.last = p
	}
	return p
}

// send makes an event part of its room. Of an event that the room has already, only the state that is sent once more, silently, changes anything.
func (h *homeserver) send(e *event, o *origin) {
	r := h.rooms[e.room]
	if known := r.byID[e.id]; known != nil && e.id != "" {
		if o.notifyFalse && e.stateKey != nil && !o.stateFalse {
			p := r.place(o)
			if p.upTo(known.at) {
				p = r.last
				p.reset++
				r.last = p
			}
			h.state(r, known, p)
		}
		return
	}
	e.at, e.void = r.place(o), o.stateFalse
	e.thread, e.depth = r.threadOf(e)
	r.events = append(r.events, e)
	if e.id != "" {
		r.byID[e.id] = e
		for _, rc := range r.receipts {
			if rc.event == e.id && !rc.resolved && o.at.Sub(rc.at) <= time.Hour {
				rc.resolved, rc.upTo = true, e.at
			}
		}
	}
	e.told = map[string]map[string]decision{}
	if !o.notifyFalse {
		for _, u := range h.recipients(r, e) {
			e.told[u.id] = u.decide(r, e)
		}
	}
	if e.redacts != "" && !o.stateFalse {
		r.redact(e.redacts)
	}
	if e.stateKey != nil && !o.stateFalse {
		h.state(r, e, e.at)
	}
}

// threadOf follows the relations of an event, over up to five others, to one that is in a thread.
func (r *room) threadOf(e *event) (root string, depth int) {
	switch parent := r.byID[e.relates]; {
	case e.relates == "":
		return "", 0
	case e.relType == "m.thread":
		return e.relates, 0
	case parent == nil || parent.thread == "" || parent.depth == 5:
		return "", 0
	default:
		return parent.thread, parent.depth + 1
	}
}

// recipients are the users whose rules are asked.
func (h *homeserver) recipients(r *room, e *event) (asked []*user) {
	if e.kind == "m.room.member" && e.stateKey != nil {
		if u := h.users[*e.stateKey]; u != nil && u.id != e.sender && (r.joined(u.id) || e.membership == "invite") && !u.ignores[e.sender] {
			asked = append(asked, u)
		}
		return asked
	}
	for _, u := range h.users {
		if r.joined(u.id) && u.id != e.sender && !u.ignores[e.sender] {
			asked = append(asked, u)
		}
	}
	return asked
}

// decide asks the user's rules, the global ones and those of each profile tag.
func (u *user) decide(r *room, e *event) map[string]decision {
	global := u.global(r, e)
	all := map[string]decision{"": global, "hush": global, "loud": global}
	if u.bothTags {
		all["hush"], all["loud"] = decision{}, decision{notify: true}
	}
	return all
}

// global are the user's rules in their order, and the server's defaults.
func (u *user) global(r *room, e *event) decision {
	silent, plain, highlight := decision{}, decision{notify: true}, decision{true, true}
	isMember := e.kind == "m.room.member"
	switch {
	case u.mutes[r.id] == muteAll: // override rules of the user's own
		return silent
	case u.members && isMember:
		return plain
	case e.msgtype == "m.notice": // override rules of the server
		return silent
	case isMember && e.membership == "invite" && *e.stateKey == u.id:
		return plain
	case isMember:
		return silent
	case slices.Contains(e.mentions, u.id):
		return highlight
	case !e.mentionsAny && hasWord(e.body, r.nameOf(u.id)):
		return highlight
	case e.mentionsRoom && e.sender == r.creator:
		return highlight
	case e.kind == "m.room.tombstone":
		return highlight
	case e.kind == "m.reaction", e.relType == "m.replace":
		return silent
	case u.keyword && hasWord(e.body, "tea"): // content rules
		return highlight
	case u.mutes[r.id] == muteMessages: // room rules
		return silent
	case e.kind == "m.call.invite", e.kind == "m.room.message", e.kind == "m.room.encrypted": // underride rules
		return plain
	}
	return silent
}

func hasWord(body, word string) bool {
	return word != "" && slices.Contains(strings.Fields(body), word)
}

func (r *room) nameOf(userID string) string {
	if m := r.members[userID]; m != nil {
		return m.name
	}
	return ""
}

func (r *room) redact(id string) {
	e := r.byID[id]
	if e == nil {
		return
	}
	e.redacted = true
	for _, m := range r.members {
		if m.event == id {
			m.name = ""
		}
	}
}

// state makes a state event the state of the room from a position on.
func (h *homeserver) state(r *room, e *event, at position) {
	switch e.kind {
	case "m.room.create":
		r.creator = e.sender
	case "m.room.member":
		target := *e.stateKey
		u := h.users[target]
		r.stays[target] = append(r.stays[target], stay{e.membership, e.sender, at, u != nil && u.ignores[e.sender]})
		if m := r.members[target]; m == nil || m.at.upTo(at) {
			r.members[target] = &member{e.membership, e.name, e.id, at}
		}
	}
}

// read makes a receipt known. It counts once its event is there.
func (r *room) read(rc receipt) {
	if e := r.byID[rc.event]; e != nil {
		rc.resolved, rc.upTo = true, e.at
	} else {
		for _, earlier := range r.receipts {
			if !earlier.resolved && earlier.user == rc.user && earlier.event == rc.event && earlier.thread == rc.thread {
				earlier.at = rc.at
				return
			}
		}
	}
	r.receipts = append(r.receipts, &rc)
}

// unread is what a user has unread in a room.
type unread struct {
	Threads map[string][2]int // notifications and highlights by root; "": main
	Missed  int
	Invited bool
}

func (n *unread) all() (notifications int) {
	for _, t := range n.Threads {
		notifications += t[0]
	}
	return notifications
}

// lines are how far a user has read: everything, and single threads.
type lines struct {
	all     position
	threads map[string]position
}

func (l *lines) passed(e *event) bool {
	line, ok := l.threads[e.thread]
	return e.at.upTo(l.all) || ok && e.at.upTo(line)
}

// lines are the user's receipts; what was before the user left is read as well.
func (r *room) lines(userID string) lines {
	l := lines{threads: map[string]position{}}
	raise := func(line, to position) position {
		if line.compare(to) < 0 {
			return to
		}
		return line
	}
	for _, rc := range r.receipts {
		switch {
		case rc.user != userID || !rc.resolved:
		case rc.thread == "":
			l.all = raise(l.all, rc.upTo)
		default:
			thread := strings.TrimPrefix(rc.thread, "main")
			l.threads[thread] = raise(l.threads[thread], rc.upTo)
		}
	}
	for _, s := range r.stays[userID] {
		if s.membership != "join" {
			l.all = raise(l.all, s.at)
		}
	}
	return l
}

// invited says whether an invite waits for the user's answer.
func (r *room) invited(userID string) bool {
	var invite, answer position
	for _, s := range r.stays[userID] {
		switch {
		case s.membership == "invite" && s.ignored:
		case s.membership == "invite" && invite.compare(s.at) < 0:
			invite = s.at
		case s.membership != "invite" && answer.compare(s.at) < 0:
			answer = s.at
		}
	}
	return answer.compare(invite) < 0
}

func (r *room) unread(userID string) unread {
	n := unread{Threads: map[string][2]int{}, Invited: r.invited(userID)}
	l := r.lines(userID)
	for _, e := range r.events {
		d := e.told[userID][""]
		if !d.notify || e.redacted || e.isInvite() {
			continue
		}
		if !l.passed(e) {
			t := n.Threads[e.thread]
			t[0]++
			if d.highlight {
				t[1]++
			}
			n.Threads[e.thread] = t
		}
		if main, ok := l.threads[""]; e.at.upTo(l.all) || ok && e.at.upTo(main) {
			continue
		}
		if e.kind == "m.call.invite" && e.call != "" && (e.invitee == "" || e.invitee == userID) && !r.answered(userID, e) {
			n.Missed++
		}
	}
	return n
}

func (e *event) isInvite() bool { return e.kind == "m.room.member" && e.membership == "invite" }

// answered says whether the user has answered the call, refused it or hung up, after it came.
func (r *room) answered(userID string, call *event) bool {
	return slices.ContainsFunc(r.events, func(e *event) bool {
		return e.sender == userID && !e.void && e.call == call.call && e.at.compare(call.at) > 0 && (e.kind == "m.call.answer" || e.kind == "m.call.hangup" || e.kind == "m.call.reject")
	})
}

// badge is what a user's badge shows, and the missed calls.
func (h *homeserver) badge(userID string, messages bool) (unread, missed int) {
	for _, r := range h.rooms {
		n := r.unread(userID)
		if all := n.all(); messages {
			unread += all
		} else {
			unread += min(all, 1)
		}
		if n.Invited {
			unread++
		}
		missed += n.Missed
	}
	return unread, missed
}
