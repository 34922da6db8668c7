package state

// How much one call, and one worker, can do. On a real server: TOCSIN_TEST_REDIS. b.N counts users, or saves.

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tocsin/pipeline"
)

// counting is a change as the users stage makes it: a message comes, or, every tenth time, a receipt.
func counting(userID, roomID string, position int64) pipeline.CountChange {
	return pipeline.CountChange{UserID: userID, RoomID: roomID, Apply: func(saved []byte) []byte {
		u, err := pipeline.DecodeUnread(saved)
		if err != nil {
			panic(err)
		}
		if position%10 == 0 {
			u.Read(position)
		} else {
			u.Notify(position, "", false)
		}
		u.Trim(1000)
		return u.Encode()
	}}
}

// BenchmarkChangeCounts counts one event for so many users a call, from so many goroutines, each with users of its own.
func BenchmarkChangeCounts(b *testing.B) {
	for _, users := range []int{1, 10, 100, 1000, 10_000} {
		for _, callers := range []int{1, 4} {
			b.Run(fmt.Sprintf("users=%d/callers=%d", users, callers), func(b *testing.B) {
				s := open(b, single(b))
				var counted atomic.Int64
				var all sync.WaitGroup
				for caller := range callers {
					all.Go(func() {
						ids := make([]string, users)
						for i := range ids {
							ids[i] = fmt.Sprintf("@user%d-%d:example.org", caller, i)
						}
						changes := make([]pipeline.CountChange, users)
						for position := int64(1); counted.Add(int64(users)) < int64(b.N+users); position++ {
							for i := range changes {
								changes[i] = counting(ids[i], "!room:example.org", position)
							}
							if err := s.ChangeCounts(b.Context(), changes); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
			})
		}
	}
}

// BenchmarkCounts reads the badge of a user with so many rooms.
func BenchmarkCounts(b *testing.B) {
	for _, rooms := range []int{1, 50} {
		b.Run(fmt.Sprintf("rooms=%d", rooms), func(b *testing.B) {
			s := open(b, single(b))
			if err := s.ChangeCounts(b.Context(), unread("@user:example.org", rooms, 10)); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Counts(b.Context(), []string{"@user:example.org"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTell saves what a pusher was told.
func BenchmarkTell(b *testing.B) {
	s := open(b, single(b))
	for n := range b.N {
		change := pipeline.ToldChange{UserID: "@user:example.org", Pusher: "AAAAAAAAAAAA", From: fmt.Sprintf("1700000000000.3.1234 %d 0 0", n-1), To: fmt.Sprintf("1700000000000.3.1234 %d 0 0", n)}
		if n == 0 {
			change.From = ""
		}
		if saved, err := s.Tell(b.Context(), []pipeline.ToldChange{change}); err != nil || saved[0] != change.To {
			b.Fatal(saved, err)
		}
	}
}

// unread are so many unread notifications in each of so many rooms.
func unread(userID string, rooms, notifications int) (changes []pipeline.CountChange) {
	for r := range rooms {
		changes = append(changes, pipeline.CountChange{UserID: userID, RoomID: fmt.Sprintf("!abcdefghijklmnop%02d:example.org", r), Apply: func([]byte) []byte {
			var u pipeline.Unread
			u.Join(1_000_000)
			u.Seen(20_000)
			for n := range notifications {
				u.Notify(int64(1_000_000+n*37+1), "", n%20 == 0)
			}
			return u.Encode()
		}})
	}
	return changes
}

// BenchmarkCountsMemory says what one user takes of a real Redis's memory: what keys.go tells.
func BenchmarkCountsMemory(b *testing.B) {
	if !onRealServers() {
		return // an embedded one does not say
	}
	for _, tc := range []struct{ rooms, notifications int }{{1, 0}, {1, 1}, {1, 10}, {1, 100}, {1, 1000}, {10, 1}, {10, 10}, {10, 100}, {50, 0}, {50, 10}, {50, 20}, {50, 1000}} {
		b.Run(fmt.Sprintf("rooms=%d/unread=%d", tc.rooms, tc.notifications), func(b *testing.B) {
			s := open(b, single(b))
			for b.Loop() {
				if err := s.ChangeCounts(b.Context(), unread("@somebody:example.org", tc.rooms, tc.notifications)); err != nil {
					b.Fatal(err)
				}
			}
			bytes, err := s.client().MemoryUsage(b.Context(), s.keys.counts("@somebody:example.org")).Result()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(bytes), "bytes/user")
			b.ReportMetric(float64(bytes)/float64(tc.rooms), "bytes/room")
		})
	}
}

// BenchmarkAccounts reads a ruleset and two pushers of each of so many users.
func BenchmarkAccounts(b *testing.B) {
	for _, users := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			s := open(b, single(b))
			ids := make([]string, users)
			var fields []pipeline.AccountField
			for i := range ids {
				ids[i] = fmt.Sprintf("@user%d:example.org", i)
				for _, field := range []string{"m.push_rules", "pusher|app|1", "pusher|app|2"} {
					fields = append(fields, pipeline.AccountField{UserID: ids[i], Field: field, Value: strings.Repeat("x", 500)})
				}
			}
			if err := s.ApplyAccounts(b.Context(), fields); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for n := 0; n < b.N; n += users {
				if _, err := s.Accounts(b.Context(), ids); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
		})
	}
}

// BenchmarkApplyAccounts writes records of the account topic, so many a call.
func BenchmarkApplyAccounts(b *testing.B) {
	s := open(b, single(b))
	fields := make([]pipeline.AccountField, 500)
	value := strings.Repeat("x", 500)
	b.ResetTimer()
	for n := 0; n < b.N; n += len(fields) {
		for i := range fields {
			fields[i] = pipeline.AccountField{UserID: fmt.Sprintf("@user%d:example.org", (n+i)%20_000), Field: "m.push_rules", Version: version(0, 0, int64(n+i)), Value: value}
		}
		if err := s.ApplyAccounts(b.Context(), fields); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkSaveRoom saves a batch of so many events, a third of them in threads, into a room whose index is full.
func BenchmarkSaveRoom(b *testing.B) {
	for _, events := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			s := open(b, single(b))
			index := make([]pipeline.IndexEntry, indexSize)
			give := func(i int, position int64) {
				index[i] = entry(fmt.Sprintf("$%043d", position), position, "", 0)
				if position%3 == 0 {
					index[i].Thread = fmt.Sprintf("$%043d", position/100)
				}
			}
			for i := range index {
				give(i, int64(i))
			}
			rev, err := s.SaveRoom(b.Context(), pipeline.RoomChange{RoomID: "!r:x", Index: index})
			if err != nil {
				b.Fatal(err)
			}
			index = index[:events]
			b.ResetTimer()
			for n := range b.N {
				for i := range index {
					give(i, int64(indexSize+n*events+i))
				}
				if rev, err = s.SaveRoom(b.Context(), pipeline.RoomChange{RoomID: "!r:x", Rev: rev, Set: map[string]string{"done": fmt.Sprint(n)}, Index: index}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLoadRoom takes a room of so many members over, as the rooms stage does. retained-B/member is what stays in memory of it.
func BenchmarkLoadRoom(b *testing.B) {
	for _, members := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			s := open(b, single(b))
			fill(b, s, members)
			heap := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := heap()
			kept, err := pipeline.LoadRoom(b.Context(), s, "!r:x", pipeline.Homeserver{Name: "example.org"})
			if err != nil || len(kept.Members) != members {
				b.Fatal(err)
			}
			retained := float64(int64(heap()-before)) / float64(members)
			runtime.KeepAlive(kept)
			b.ReportAllocs()
			for b.Loop() {
				if r, err := pipeline.LoadRoom(b.Context(), s, "!r:x", pipeline.Homeserver{Name: "example.org"}); err != nil || len(r.Members) != members {
					b.Fatal(err)
				}
			}
			b.ReportMetric(retained, "retained-B/member")
		})
	}
}

// fill makes a room of so many members.
func fill(b *testing.B, s *Store, members int) {
	fields := map[string]string{}
	for i := range members {
		user := fmt.Sprintf("@user%d:example.org", i)
		e, err := pipeline.ParseEvent(fmt.Appendf(nil, `{"event_id":"$%d","room_id":"!r:x","type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":"join","displayname":"Somebody %d"}}`, i, user, user, i))
		if err != nil {
			b.Fatal(err)
		}
		field, value := pipeline.StateField(e, int64(1000+i))
		fields[field] = value
	}
	if _, err := s.FillRoom(b.Context(), "!r:x", fields); err != nil {
		b.Fatal(err)
	}
}
