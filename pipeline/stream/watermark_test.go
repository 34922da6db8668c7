package stream

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWatermarkAgainstModel holds the watermark against the obvious: a set of records that are not done.
func TestWatermarkAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const maxRecords, maxBytes = 6, 1000
		w := newWatermark(10, maxRecords, maxBytes)
		next := int64(10)
		undone := map[int64]*entry{}
		tasks := map[int64]int{}
		sizes := map[int64]int{}
		begun := 0
		var newest time.Time
		begin := func(t *rapid.T) {
			var records []*Record
			offset := next
			for range rapid.IntRange(1, 4).Draw(t, "records") {
				offset += rapid.Int64Range(0, 3).Draw(t, "gap")
				records = append(records, &Record{Offset: offset, Time: time.UnixMilli(rapid.Int64Range(1, 50).Draw(t, "time")), Value: make([]byte, rapid.IntRange(0, 500).Draw(t, "size"))})
				offset++
			}
			n := w.room(records)
			open, bytes := len(undone), 0
			for o := range undone {
				bytes += sizes[o]
			}
			want := 0
			for _, r := range records {
				if open > 0 && (open >= maxRecords || bytes+r.size() > maxBytes) {
					break
				}
				open, bytes, want = open+1, bytes+r.size(), want+1
			}
			if n > want || n == 0 && len(undone) == 0 {
				t.Fatalf("room for %d, want %d", n, want)
			}
			for i, e := range w.begin(records[:n]) {
				r := records[i]
				undone[r.Offset], tasks[r.Offset], sizes[r.Offset] = e, 1, r.size()
				next = r.Offset + 1
				begun++
			}
		}
		one := func(t *rapid.T) int64 { // of the records that are not done
			if len(undone) == 0 {
				begin(t)
			}
			return rapid.SampledFrom(sorted(undone)).Draw(t, "offset")
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": begin,
			"add": func(t *rapid.T) {
				o := one(t)
				w.add(undone[o])
				tasks[o]++
			},
			"finish": func(t *rapid.T) {
				o := one(t)
				if tasks[o]--; tasks[o] == 0 {
					if at := undone[o].record.Time; at.After(newest) {
						newest = at
					}
				}
				w.finish(undone[o])
				if tasks[o] == 0 {
					delete(undone, o)
				}
			},
			"skip": func(t *rapid.T) {
				next += rapid.Int64Range(0, 5).Draw(t, "by")
				w.skip(next)
			},
			"": func(t *rapid.T) {
				want := next
				if all := sorted(undone); len(all) > 0 {
					want = all[0]
				}
				gotNext, got, gotNewest := w.marks()
				if gotNext != next || got != want || !gotNewest.Equal(newest) {
					t.Fatalf("marks are %d, %d, %v; want %d, %d, %v", gotNext, got, gotNewest, next, want, newest)
				}
			},
		})
	})
}

func sorted(m map[int64]*entry) []int64 {
	var offsets []int64
	for o := range m {
		offsets = append(offsets, o)
	}
	slices.Sort(offsets)
	return offsets
}

// A lane that is stuck must not let the records behind it pile up for ever, even if they are done.
func TestWatermarkBoundsTheSpan(t *testing.T) {
	w := newWatermark(0, 2, 1<<20)
	record := func(offset int64) []*Record { return []*Record{{Offset: offset}} }
	w.begin(record(0)) // stuck
	offset := int64(1)
	for ; w.room(record(offset)) == 1; offset++ {
		w.finish(w.begin(record(offset))...)
	}
	if want := int64(2 * spanFactor); offset != want {
		t.Errorf("%d records above the watermark, want %d", offset, want)
	}
}
