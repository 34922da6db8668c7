package pipeline

// What was written of a room whose state could then not be saved.

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"tocsin/pipeline/stream"
)

// unsaved remembers what follows from events that are to be done again, because Redis was away or an import changed their room: it is written once, not at each attempt. What follows from an
// event is the same each time, byte by byte, unless somebody's rules or the room's name have changed meanwhile. The zero value is empty. It is safe for concurrent use.
type unsaved struct {
	mu     sync.Mutex
	byRoom map[string]map[fingerprint]struct{}
}

// maxUnsaved bounds the rooms that are remembered. Each lane leaves one at most, so there are as many as workers, and those of partitions that were given up since.
const maxUnsaved = 4096

// fingerprint tells messages apart. When they were written does not matter.
type fingerprint [sha256.Size]byte

func fingerprintOf(m *stream.Message) (f fingerprint) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(m.Topic), m.Key, m.Value} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(m.Partition)))
	return fingerprint(h.Sum(nil))
}

// missing are those of a room's messages that an earlier attempt has not written.
func (u *unsaved) missing(roomID string, out []stream.Message) []stream.Message {
	u.mu.Lock()
	written := u.byRoom[roomID] // never changed, only replaced
	u.mu.Unlock()
	if written == nil {
		return out
	}
	var left []stream.Message
	for i := range out {
		if _, is := written[fingerprintOf(&out[i])]; !is {
			left = append(left, out[i])
		}
	}
	return left
}

// add remembers what was written of a room that could not be saved. A room belongs to its lane: nobody else adds to it meanwhile.
func (u *unsaved) add(roomID string, out []stream.Message) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byRoom == nil || len(u.byRoom) >= maxUnsaved {
		u.byRoom = map[string]map[fingerprint]struct{}{}
	}
	written := make(map[fingerprint]struct{}, len(u.byRoom[roomID])+len(out))
	for f := range u.byRoom[roomID] {
		written[f] = struct{}{}
	}
	for i := range out {
		written[fingerprintOf(&out[i])] = struct{}{}
	}
	u.byRoom[roomID] = written
}

// forget is for a room that is saved.
func (u *unsaved) forget(roomID string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byRoom, roomID)
}
