package pipeline

import (
	"fmt"
	"slices"
	"testing"
)

// threadCounts is what is unread in the main timeline, in threads A and B, and in all.
type threadCounts struct{ main, a, b, all int }

func countThreads(u *Unread) (c threadCounts) {
	c.main, _ = u.CountThread("main")
	c.a, _ = u.CountThread("$A")
	c.b, _ = u.CountThread("$B")
	c.all, _ = u.Count()
	return c
}

// TestUnreadReceipts holds what the specification says of receipts in a room with 10 (main), 20 (A), 30 (B), 40 (main), 50 (A), 60 (B).
func TestUnreadReceipts(t *testing.T) {
	t.Parallel()
	room := func() (u Unread) {
		for i, thread := range []string{"", "$A", "$B", "main", "$A", "$B"} {
			u.Notify(int64(i+1)*10, thread, false)
		}
		return u
	}
	for _, tc := range []struct {
		name string
		read func(*Unread)
		want threadCounts
	}{
		{"none", func(*Unread) {}, threadCounts{2, 2, 2, 6}},
		{"unthreaded reads all threads", func(u *Unread) { u.Read(40) }, threadCounts{0, 1, 1, 2}},
		{"inclusive", func(u *Unread) { u.Read(30) }, threadCounts{1, 1, 1, 3}},
		{"just before", func(u *Unread) { u.Read(29) }, threadCounts{1, 1, 2, 4}},
		{"main reads no thread", func(u *Unread) { u.ReadThread("main", 60) }, threadCounts{0, 2, 2, 4}},
		{"main is inclusive", func(u *Unread) { u.ReadThread("main", 10) }, threadCounts{1, 2, 2, 5}},
		{"the empty thread is main", func(u *Unread) { u.ReadThread("", 60) }, threadCounts{0, 2, 2, 4}},
		{"a thread reads itself alone", func(u *Unread) { u.ReadThread("$A", 60) }, threadCounts{2, 0, 2, 4}},
		{"a thread is inclusive", func(u *Unread) { u.ReadThread("$A", 20) }, threadCounts{2, 1, 2, 5}},
		{"at an event of another thread", func(u *Unread) { u.ReadThread("$A", 30) }, threadCounts{2, 1, 2, 5}},
		{"a thread nobody has written in", func(u *Unread) { u.ReadThread("$C", 60) }, threadCounts{2, 2, 2, 6}},
		{"the further wins: unthreaded", func(u *Unread) { u.ReadThread("$A", 20); u.Read(50) }, threadCounts{0, 0, 1, 1}},
		{"the further wins: threaded", func(u *Unread) { u.Read(20); u.ReadThread("$A", 50) }, threadCounts{1, 0, 2, 3}},
		{"an older one changes nothing", func(u *Unread) { u.Read(40); u.Read(10); u.ReadThread("$A", 20) }, threadCounts{0, 1, 1, 2}},
		{"an older one in its thread", func(u *Unread) { u.ReadThread("$A", 50); u.ReadThread("$A", 20) }, threadCounts{2, 0, 2, 4}},
		{"main and unthreaded", func(u *Unread) { u.ReadThread("main", 40); u.Read(20) }, threadCounts{0, 1, 2, 3}},
		{"redacted", func(u *Unread) { u.Redact(20); u.Redact(25) }, threadCounts{2, 1, 2, 5}},
		{"leaving clears all threads", func(u *Unread) { u.Leave(55) }, threadCounts{0, 0, 1, 1}},
		{"before the notification", func(u *Unread) { u.ReadThread("$A", 70); u.Notify(70, "$A", false); u.Notify(71, "$A", false) }, threadCounts{2, 1, 2, 5}},
		{"redacted before", func(u *Unread) { u.Redact(70); u.Notify(70, "$A", true) }, threadCounts{2, 2, 2, 6}},
		{"a position that no event has", func(u *Unread) {
			u.Read(maxPosition)
			u.ReadThread("$A", maxPosition)
			u.ReadThread("main", maxPosition)
			u.Leave(maxPosition)
			u.Redact(maxPosition)
			u.Notify(maxPosition, "", true)
			u.Notify(-1, "", true)
			u.Notify(0, "$A", true)
		}, threadCounts{2, 2, 2, 6}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := room()
			for range 2 { // the second time changes nothing
				tc.read(&u)
				if got := countThreads(&u); got != tc.want {
					t.Errorf("got %+v, want %+v", got, tc.want)
				}
			}
			if _, err := savedAndRead(u); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnreadPassed(t *testing.T) {
	t.Parallel()
	var u Unread
	u.Read(10)
	u.ReadThread("main", 20)
	u.ReadThread("$A", 30)
	u.Redact(25)
	for _, tc := range []struct {
		position int64
		thread   string
		want     bool
	}{
		{10, "$B", true}, {11, "$B", false}, {20, "", true}, {20, "main", true}, {21, "", false},
		{30, "$A", true}, {31, "$A", false}, {25, "", true}, {25, "$B", true}, {26, "$B", false},
	} {
		if got := u.Passed(tc.position, tc.thread); got != tc.want {
			t.Errorf("Passed(%d, %q) = %v", tc.position, tc.thread, got)
		}
	}
}

func TestUnreadCountsHighlights(t *testing.T) {
	t.Parallel()
	var u Unread
	u.Notify(1, "", true)
	u.Notify(2, "$A", true)
	u.Notify(3, "$A", false)
	for _, tc := range []struct {
		thread string
		n, h   int
	}{{"", 1, 1}, {"main", 1, 1}, {"$A", 2, 1}, {"$B", 0, 0}} {
		if n, h := u.CountThread(tc.thread); n != tc.n || h != tc.h {
			t.Errorf("thread %q has %d with %d highlights, want %d with %d", tc.thread, n, h, tc.n, tc.h)
		}
	}
	if n, h := u.Count(); n != 3 || h != 2 {
		t.Errorf("in all %d with %d highlights, want 3 with 2", n, h)
	}
}

func TestUnreadMissedCalls(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		changes func(*Unread)
		want    int
	}{
		{"one", func(u *Unread) { u.Call(5, "a") }, 1},
		{"two", func(u *Unread) { u.Call(5, "a"); u.Call(6, "b"); u.Call(6, "b") }, 2},
		{"answered", func(u *Unread) { u.Call(5, "a"); u.Call(6, "b"); u.AnswerCall(7, "a") }, 1},
		{"answered before it came", func(u *Unread) { u.AnswerCall(7, "a"); u.Call(5, "a") }, 0},
		{"answered, and the invite again", func(u *Unread) { u.Call(5, "a"); u.AnswerCall(7, "a"); u.Call(5, "a") }, 0},
		{"the older answer last", func(u *Unread) { u.AnswerCall(9, "a"); u.AnswerCall(7, "a"); u.Call(8, "a") }, 0},
		{"an answer is to the calls before it", func(u *Unread) { u.AnswerCall(7, "a"); u.Call(8, "a") }, 1},
		{"an answer to another", func(u *Unread) { u.Call(5, "a"); u.AnswerCall(7, "b") }, 1},
		{"read", func(u *Unread) { u.Call(5, "a"); u.Call(6, "b"); u.Read(5) }, 1},
		{"read in main", func(u *Unread) { u.Call(5, "a"); u.Call(6, "b"); u.ReadThread("main", 6) }, 0},
		{"read in a thread", func(u *Unread) { u.Call(5, "a"); u.ReadThread("$A", 6) }, 1},
		{"read before it came", func(u *Unread) { u.ReadThread("main", 6); u.Call(5, "a") }, 0},
		{"redacted", func(u *Unread) { u.Call(5, "a"); u.Redact(5) }, 0},
		{"redacted before it came", func(u *Unread) { u.Redact(5); u.Call(5, "a") }, 0},
		{"left", func(u *Unread) { u.Call(5, "a"); u.Leave(6) }, 0},
		{"a position that no event has", func(u *Unread) { u.Call(maxPosition, "a"); u.Call(5, "a"); u.AnswerCall(maxPosition, "a") }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var u Unread
			tc.changes(&u)
			u, err := savedAndRead(u)
			if got := u.MissedCalls(); got != tc.want || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, tc.want)
			}
		})
	}
}

func TestUnreadKeepsTheNewestCalls(t *testing.T) {
	t.Parallel()
	var u Unread
	for p := int64(1); p <= 100; p++ {
		u.Call(2*p, fmt.Sprint(p))
	}
	if got := u.MissedCalls(); got != maxCalls {
		t.Errorf("%d calls are kept, want %d", got, maxCalls)
	}
	for p := int64(1); p <= 100; p++ {
		u.AnswerCall(2*p+1, fmt.Sprint(p))
	}
	u.Call(200, "100")
	u, err := savedAndRead(u)
	if len(u.answers) != maxCalls || u.MissedCalls() != 0 || err != nil {
		t.Errorf("%d answers and %d calls are kept, %v, want %d and none", len(u.answers), u.MissedCalls(), err, maxCalls)
	}
}

func TestUnreadInvites(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		changes func(*Unread)
		want    bool
	}{
		{"none", func(*Unread) {}, false},
		{"invited", func(u *Unread) { u.Invite(5) }, true},
		{"joined", func(u *Unread) { u.Invite(5); u.Join(6) }, false},
		{"joined, and the invite again", func(u *Unread) { u.Join(6); u.Invite(5) }, false},
		{"declined", func(u *Unread) { u.Invite(5); u.Leave(6) }, false},
		{"invited again", func(u *Unread) { u.Invite(5); u.Leave(6); u.Invite(7) }, true},
		{"read is not answered", func(u *Unread) { u.Invite(5); u.Read(6) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var u Unread
			tc.changes(&u)
			u, err := savedAndRead(u)
			if got := u.PendingInvite(); got != tc.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestUnreadStartsAnewAfterAReturn(t *testing.T) {
	t.Parallel()
	var u Unread
	u.Notify(1, "", true)
	u.Notify(2, "$A", true)
	u.ReadThread("$B", 3)
	u.Call(4, "a")
	u.AnswerCall(5, "b")
	u.Redact(6)
	u.Leave(10)
	u.Invite(11)
	u.Join(12)
	var fresh Unread
	fresh.Leave(10)
	fresh.Join(12)
	if got, want := u.Encode(), fresh.Encode(); !slices.Equal(got, want) {
		t.Errorf("something is left of the time before: %x, want %x", got, want)
	}
	u.Notify(2, "$A", true) // late
	u.Notify(13, "$A", false)
	if got, want := countThreads(&u), (threadCounts{0, 1, 0, 1}); got != want {
		t.Errorf("after the return %+v, want %+v", got, want)
	}
}

func TestUnreadSeen(t *testing.T) {
	t.Parallel()
	var u Unread
	for _, day := range []int64{-1, 20_500, 20_400} {
		u.Seen(day)
	}
	u, err := savedAndRead(u)
	if got := u.LastSeen(); got != 20_500 || err != nil {
		t.Errorf("last seen on day %d, %v, want 20500", got, err)
	}
	u.Seen(1 << 40)
	if u, err = savedAndRead(u); u.LastSeen() != maxDay || err != nil {
		t.Errorf("a day beyond all is %d, %v, want %d", u.LastSeen(), err, maxDay)
	}
}

func TestUnreadTrimKeepsTheNewest(t *testing.T) {
	t.Parallel()
	var u Unread
	for p := int64(1); p <= 10; p++ {
		u.Notify(p, []string{"main", "$A"}[p%2], p > 8)
		u.Redact(p + 100)
	}
	u.Trim(20)
	if n, h := u.Count(); n != 10 || h != 2 {
		t.Errorf("got %d with %d highlights, want 10 with 2", n, h)
	}
	u.Trim(4)
	if n, h := u.Count(); n != 4 || h != 2 || u.Passed(10, "") || u.Redacted(106) || !u.Redacted(107) {
		t.Errorf("got %d with %d highlights and redacted %v, want 4 with 2 and four", n, h, u.redacted)
	}
	if n, h := u.CountThread("$A"); n != 2 || h != 1 {
		t.Errorf("got %d with %d highlights in the thread, want 2 with 1", n, h)
	}
	u.Trim(0)
	if n, _ := u.Count(); n != 0 || u.Redacted(110) {
		t.Errorf("%d are left of none", n)
	}
}

// TestUnreadForgetsNoRead has a user read more threads than receipts are kept.
func TestUnreadForgetsNoRead(t *testing.T) {
	t.Parallel()
	const threads = 3 * maxReceipts
	root := func(i int64) string { return fmt.Sprintf("$%d", i) }
	var u Unread
	u.Notify(1, "$waits", true)
	for i := int64(1); i <= threads; i++ {
		u.Notify(10*i, root(i), false)
		u.Notify(10*i+1, root(i), false)
		u.ReadThread(root(i), 10*i)
	}
	check := func(when string) {
		t.Helper()
		if n, h := u.Count(); n != threads+1 || h != 1 || u.Passed(1, "$waits") {
			t.Errorf("%s: %d unread with %d highlights, want one in each of %d threads", when, n, h, threads+1)
		}
		if len(u.receipts) > maxReceipts {
			t.Errorf("%s: %d receipts", when, len(u.receipts))
		}
		var err error
		if u, err = savedAndRead(u); err != nil {
			t.Error(err)
		}
	}
	check("in order")
	for i := int64(threads); i >= 1; i-- {
		u.Notify(10*i, root(i), false)
		u.ReadThread(root(i), 10*i)
		u.Notify(10*i+1, root(i), false)
	}
	u.Notify(1, "$waits", true)
	check("again, backwards")

	floor := u.threadFloor
	if want := int64(10 * (threads - maxReceipts)); floor != want {
		t.Errorf("the thread floor is %d, want %d", floor, want)
	}
	if !u.Passed(floor-1, "$late") || u.Passed(floor+1, "$late") || u.Passed(floor-1, "main") {
		t.Errorf("what comes late: passed below the floor %v, above %v, in main %v", u.Passed(floor-1, "$late"), u.Passed(floor+1, "$late"), u.Passed(floor-1, "main"))
	}
	u.Notify(floor-1, "$late", false)
	check("late in a thread")
	u.ReadThread("$waits", 5) // below the floor
	if u.ReadThread(root(1), 11); !u.Passed(1, "$waits") || !u.Passed(11, root(1)) || u.Passed(21, root(2)) {
		t.Error("a receipt below the floor does not read its thread alone")
	}
	u.Read(floor)
	if u.threadFloor != 0 || u.Passed(floor+1, root(threads-maxReceipts)) {
		t.Error("the thread floor is left below the line, or the line reads too much")
	}
}
