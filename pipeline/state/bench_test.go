package state

// How much one call, and one worker, can do. On a real server: TOCSIN_TEST_REDIS. b.N counts users, or saves.

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tocsin/pipeline"
)

// counting is a change as the users stage makes it: one more position into a set of at most ten, delta by delta.
func counting(userID, roomID string, position uint64) pipeline.CountChange {
	return pipeline.CountChange{UserID: userID, RoomID: roomID, Apply: func(saved []byte) []byte {
		if len(saved) >= 80 {
			saved = saved[8:]
		}
		return binary.BigEndian.AppendUint64(saved, position)
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
						changes := make([]pipeline.CountChange, users)
						for counted.Add(int64(users)) < int64(b.N+users) {
							for i := range changes {
								changes[i] = counting(fmt.Sprintf("@user%d-%d:example.org", caller, i), "!room:example.org", uint64(counted.Load()))
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
