package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// saveAndLoad is what another worker knows of the receipts.
func saveAndLoad(w *waitingReceipts, fields map[string]string) *waitingReceipts {
	for _, field := range w.save(fields) {
		delete(fields, field)
	}
	var back waitingReceipts
	for field, value := range fields {
		back.load(strings.TrimPrefix(field, waitingField), value)
	}
	return &back
}

func TestWaitingReceipts(t *testing.T) {
	t.Parallel()
	begin := time.UnixMilli(1_700_000_000_000)
	at := func(d time.Duration) int64 { return begin.Add(d).UnixMilli() }
	w, fields := &waitingReceipts{}, map[string]string{}
	w.add("$a", waitingReceipt{"@u:x", "", at(0)})
	w.add("$a", waitingReceipt{"@u:x", "main", at(time.Minute)})
	w.add("$a", waitingReceipt{"@u:x", "", at(2 * time.Minute)}) // instead of the first
	w.add("$b", waitingReceipt{"@v:x", "$root", at(3 * time.Minute)})
	for range 2 {
		w = saveAndLoad(w, fields)
	}
	if w.count != 3 || len(w.changed) != 0 || w.oldest != at(time.Minute) {
		t.Fatalf("%+v", w)
	}
	if lost := w.expire(begin.Add(time.Hour + time.Minute)); lost != 0 {
		t.Errorf("%d have expired after just an hour", lost)
	}
	if lost := w.expire(begin.Add(time.Hour + 2*time.Minute)); lost != 1 || w.count != 2 {
		t.Errorf("%d have expired, %d wait", lost, w.count)
	}
	w = saveAndLoad(w, fields)
	if got := w.take("$a"); !slices.Equal(got, []waitingReceipt{{"@u:x", "", at(2 * time.Minute)}}) {
		t.Errorf("took %v", got)
	}
	if got := w.take("$a"); got != nil {
		t.Errorf("took %v twice", got)
	}
	w = saveAndLoad(w, fields)
	if len(fields) != 1 || w.count != 1 || w.take("$a") != nil || len(w.take("$b")) != 1 {
		t.Errorf("%v are saved", fields)
	}
	if saveAndLoad(w, fields); len(fields) != 0 {
		t.Errorf("%v are saved when nothing waits", fields)
	}
}

// The oldest go, whoever kept the room.
func TestWaitingReceiptsAreBounded(t *testing.T) {
	t.Parallel()
	w, fields, lost := &waitingReceipts{}, map[string]string{}, 0
	for i := range waitingCount + 100 {
		lost += w.add(fmt.Sprint("$", i%7), waitingReceipt{UserID: fmt.Sprintf("@u%d:x", i), At: int64(i)})
		if i%300 == 0 {
			w = saveAndLoad(w, fields)
		}
	}
	if lost != 100 || w.count != waitingCount || w.oldest != 100 {
		t.Errorf("%d are lost, %d wait, the oldest from %d", lost, w.count, w.oldest)
	}
	w = saveAndLoad(w, fields)
	for i := range 7 {
		for _, r := range w.take(fmt.Sprint("$", i)) {
			if r.At < 100 {
				t.Errorf("%v is still there", r)
			}
		}
	}
	if w.count != 0 {
		t.Errorf("%d wait for nothing", w.count)
	}
	// Of those that came at once it is always the same one.
	first, second := &waitingReceipts{}, &waitingReceipts{}
	for i := range waitingCount + 1 {
		first.add(fmt.Sprint("$", i), waitingReceipt{UserID: "@u:x"})
		second.add(fmt.Sprint("$", waitingCount-i), waitingReceipt{UserID: "@u:x"})
	}
	if first.take("$0") != nil || second.take("$0") != nil || first.take("$1") == nil || second.take("$1") == nil {
		t.Error("which one goes depends on chance")
	}
}

func TestMalformedWaitingReceipts(t *testing.T) {
	t.Parallel()
	var w waitingReceipts
	for _, value := range []string{"", "[", `{"user_id":"@u:x"}`, `[7]`, `null`} {
		if w.load("$e", value); w.count != 0 {
			t.Errorf("%q is %d receipts", value, w.count)
		}
	}
}
