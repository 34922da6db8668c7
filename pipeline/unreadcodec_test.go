package pipeline

// The saved form of Unread: its size, its safety, its speed.

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// someUnread has some of everything.
func someUnread() (u Unread) {
	for i, thread := range []string{"", "$A", "$A", "main", "$B", ""} {
		u.Notify(int64(100+10*i), thread, i%2 == 0)
	}
	u.Read(50)
	u.ReadThread("main", 60)
	u.ReadThread("$A", 115)
	u.ReadThread("$C", 200)
	u.Redact(105)
	u.Redact(300)
	u.Call(120, "a")
	u.Call(130, "b")
	u.AnswerCall(121, "a")
	u.Join(20)
	u.Invite(400)
	u.Seen(20_500)
	return u
}

// TestEncodeUnread pins the form: a change of these bytes is a new format.
func TestEncodeUnread(t *testing.T) {
	t.Parallel()
	changed := func(change func(*Unread)) (u Unread) { change(&u); return u }
	for _, tc := range []struct {
		name string
		u    Unread
		want string
	}{
		{"nothing", Unread{}, "0200"},
		{"read", changed(func(u *Unread) { u.Read(300) }), "0201ac02"},
		{"read in main", changed(func(u *Unread) { u.ReadThread("main", 5) }), "020205"},
		{"joined, seen", changed(func(u *Unread) { u.Join(5); u.Seen(20_500) }), "0214055014"},
		{"invited", changed(func(u *Unread) { u.Leave(5); u.Invite(7) }), "020d050502"},
		{"one highlight, one not", changed(func(u *Unread) { u.Read(5); u.Notify(7, "", true); u.Notify(8, "", false) }), "0201050502"},
		{"in a thread", changed(func(u *Unread) { u.Notify(1, "$A", false); u.Notify(2, "$A", true); u.Notify(3, "", false) }), "022001" + hashHex("$A") + "000601050600"},
		{"a receipt of a thread", changed(func(u *Unread) { u.ReadThread("$A", 9) }), "022001" + hashHex("$A") + "09"},
		{"redacted", changed(func(u *Unread) { u.Redact(3); u.Redact(5) }), "0240020302"},
		{"a call", changed(func(u *Unread) { u.Call(3, "a") }), "02800201" + "03" + hashHex("a")},
		{"an answer", changed(func(u *Unread) { u.AnswerCall(3, "a") }), "02800401" + "03" + hashHex("a")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := hex.EncodeToString(tc.u.Encode()); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if back, err := DecodeUnread(tc.u.Encode()); err != nil || fmt.Sprint(back) != fmt.Sprint(tc.u) {
				t.Errorf("read as %+v, %v, want %+v", back, err, tc.u)
			}
		})
	}
}

func hashHex(id string) string { return fmt.Sprintf("%016x", uint64(hashName(id))) }

func TestDecodeUnreadRefuses(t *testing.T) {
	t.Parallel()
	a, b := hashHex("$A"), hashHex("$B")
	if a > b {
		a, b = b, a
	}
	for _, tc := range []struct {
		name, bytes string
		want        error
	}{
		{"a newer format", "03", errUnreadNewer},
		{"the highest format", "ff00", errUnreadNewer},
		{"an older format", "010000000000", errUnreadCorrupt},
		{"no fields", "02", errUnreadCorrupt},
		{"a field that nobody knows", "028008", errUnreadCorrupt},
		{"a line that is missing", "0201", errUnreadCorrupt},
		{"a line of 0", "020100", errUnreadCorrupt},
		{"a longer form of the same number", "02018500", errUnreadCorrupt},
		{"a position too high", "0201808080808080808001", errUnreadCorrupt},
		{"a distance too far", "0203" + "ffffffffffffff0f" + "01", errUnreadCorrupt},
		{"a number without end", "0201ffffffffffffffffffff", errUnreadCorrupt},
		{"a day that is cut", "021050", errUnreadCorrupt},
		{"day 0", "02100000", errUnreadCorrupt},
		{"no threads", "022000", errUnreadCorrupt},
		{"too many threads for so few bytes", "0220ffffffff0f", errUnreadCorrupt},
		{"threads out of order", "022002" + b + a + "0101", errUnreadCorrupt},
		{"a thread twice", "022002" + a + a + "0101", errUnreadCorrupt},
		{"main among the threads", "022001" + "0000000000000000" + "01", errUnreadCorrupt},
		{"a thread without anything", "022001" + a + "00", errUnreadCorrupt},
		{"two threads, one without anything", "022002" + a + b + "0100", errUnreadCorrupt},
		{"a thread that is not there", "022001" + a + "010e02", errUnreadCorrupt},
		{"another thread that is the same", "022001" + a + "000601" + "0601", errUnreadCorrupt},
		{"read in its thread", "022001" + a + "050601", errUnreadCorrupt},
		{"unread twice", "02000200", errUnreadCorrupt},
		{"redacted twice", "0240020300", errUnreadCorrupt},
		{"unread and redacted", "0240010306", errUnreadCorrupt},
		{"no redacted", "024000", errUnreadCorrupt},
		{"no calls", "02800200", errUnreadCorrupt},
		{"a call at 0", "0280020100" + a, errUnreadCorrupt},
		{"a call twice", "0280020203" + a + "00" + a, errUnreadCorrupt},
		{"two answers to one call", "0280040203" + a + "01" + a, errUnreadCorrupt},
		{"a call that is answered", "0280060103" + a + "0104" + a, errUnreadCorrupt},
		{"a call that is redacted", "02c002010301" + "03" + a, errUnreadCorrupt},
		{"more calls than are kept", "02800221" + strings.Repeat("03"+a, maxCalls+1), errUnreadCorrupt},
		{"more receipts than are kept", "022065" + ascending(maxReceipts+1) + strings.Repeat("01", maxReceipts+1), errUnreadCorrupt},
		{"as many receipts as are kept", "022064" + ascending(maxReceipts) + strings.Repeat("01", maxReceipts), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			saved, err := hex.DecodeString(tc.bytes)
			if err != nil {
				t.Fatal(err)
			}
			u, err := DecodeUnread(saved)
			if !errors.Is(err, tc.want) || err != nil && !reflect.DeepEqual(u, Unread{}) {
				t.Errorf("got %+v, %v, want %v", u, err, tc.want)
			}
		})
	}
}

// ascending is so many hashes.
func ascending(n int) (hashes string) {
	for i := range n {
		hashes += fmt.Sprintf("%016x", i+1)
	}
	return hashes
}

func FuzzDecodeUnread(f *testing.F) {
	u := someUnread()
	f.Add(u.Encode())
	f.Add([]byte{})
	f.Add([]byte{unreadFormat, 0, 2})
	f.Add([]byte{unreadFormat + 1})
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var u Unread
		for _, c := range roomLife(rng, []string{"main", "$A", "$B"}) {
			c.apply(&u)
		}
		f.Add(u.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := DecodeUnread(b)
		if err != nil || len(b) == 0 {
			return
		}
		if again := u.Encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x is read as %+v, which is saved as %x", b, u, again)
		}
		// what was read can be changed as any other, and what comes of it be saved
		for _, c := range []change{
			{kind: "notify", position: u.line + 7, thread: "$A"}, {kind: "readThread", position: u.line + 9, thread: "$C"}, {kind: "redact", position: u.line + 8},
			{kind: "call", position: u.line + 5, call: "a"}, {kind: "answer", position: u.line + 6, call: "b"}, {kind: "invite", position: u.answered + 1},
			{kind: "readThread", position: u.main + 3, thread: "main"}, {kind: "notify", position: maxPosition - 1}, {kind: "seen", position: 3},
			{kind: "read", position: u.line + 8}, {kind: "join", position: u.answered + 1}, {kind: "leave", position: u.line + 20},
		} {
			c.apply(&u)
			if u, err = savedAndRead(u); err != nil {
				t.Fatalf("%x, then %+v: %v", b, c, err)
			}
		}
	})
}

// benchmarkRoom is a room in a partition that it shares with others: some hundreds of positions lie between its events. Its user has joined and read,
// some time ago, and has that many unread, all in the main timeline or most in four threads.
func benchmarkRoom(unread int, threads bool) (u Unread, next int64) {
	rng := rand.New(rand.NewPCG(uint64(unread), 3))
	p := int64(400_000_000)
	u.Seen(20_500)
	u.Join(p)
	u.Read(p + 1_000_000)
	p += 1_000_000
	if threads {
		u.ReadThread("main", p)
		u.ReadThread("$thread1", p+10)
		u.ReadThread("$thread2", p+20)
	}
	for range unread {
		p += 1 + rng.Int64N(600)
		thread := ""
		if threads {
			thread = []string{"main", "$thread1", "$thread2", "$thread3", "$thread4"}[rng.IntN(5)]
		}
		u.Notify(p, thread, rng.IntN(10) == 0)
	}
	return u, p + 300
}

// BenchmarkUnread is what the users stage does for one user of one notice: read what is saved, count, save. It tells how many bytes that are.
func BenchmarkUnread(b *testing.B) {
	for _, threads := range []bool{false, true} {
		for _, unread := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("threads=%v/unread=%d", threads, unread), func(b *testing.B) {
				u, next := benchmarkRoom(unread, threads)
				saved := u.Encode()
				thread := ""
				if threads {
					thread = "$thread1"
				}
				b.ReportAllocs()
				for b.Loop() {
					u, err := DecodeUnread(saved)
					if err != nil {
						b.Fatal(err)
					}
					u.Notify(next, thread, false)
					u.Trim(1001)
					if len(u.Encode()) <= len(saved) {
						b.Fatal("nothing was counted")
					}
				}
				b.ReportMetric(float64(len(saved)), "bytes/room")
			})
		}
	}
}
