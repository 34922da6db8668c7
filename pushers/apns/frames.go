package apns

// What the frames of a connection tell that a client of the standard library keeps to itself (RFC 9113).

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

// goAway is why a server has given up a connection (RFC 9113, section 6.8).
type goAway struct {
	reason string // Apple's reason, from the debug data; "" if there is none
}

// frames is a connection that reads along. It hands on what it reads, unchanged.
type frames struct {
	net.Conn

	answered chan struct{} // closed when the first answer comes, or the connection ends
	once     sync.Once
	goAway   atomic.Pointer[goAway]
	alert    atomic.Pointer[net.OpError] // why the server has ended TLS; the client of the library does not always hand it on
	heard    atomic.Int64                // when something was read last, in nanoseconds since 1970

	// The reader's alone: how far it is in a frame.
	head  [9]byte
	has   int    // bytes of the head
	left  int    // bytes of the payload that are to come
	debug []byte // payload of a GOAWAY so far
}

const (
	typeHeaders = 0x1
	typeGoAway  = 0x7

	maxDebug = 1 << 10 // of a GOAWAY's payload that are kept

	lastWords = 100 * time.Millisecond // that a connection which can't be written to is read for
)

func watch(conn net.Conn) *frames { return &frames{Conn: conn, answered: make(chan struct{})} }

// Read implements [net.Conn].
func (f *frames) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if n > 0 {
		f.heard.Store(time.Now().UnixNano())
		f.see(b[:n])
	}
	f.note(err)
	return n, err
}

// Write implements [net.Conn]. If it fails before anything came from the server, what the server said when it hung up is read: that it refuses a certificate, it says after the
// handshake, when requests are on their way.
func (f *frames) Write(b []byte) (int, error) {
	n, err := f.Conn.Write(b)
	if err != nil && f.heard.Load() == 0 {
		_ = f.Conn.SetReadDeadline(time.Now().Add(lastWords)) // the connection is of no use any more
		_, why := f.Conn.Read(make([]byte, maxDebug))
		f.note(why)
	}
	return n, err
}

// note keeps the alert with which the server has ended TLS.
func (f *frames) note(err error) {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Op == "remote error" {
		f.alert.Store(op)
	}
}

// Close implements [net.Conn].
func (f *frames) Close() error {
	f.once.Do(func() { close(f.answered) })
	return f.Conn.Close()
}

// see follows the frames in what was read.
func (f *frames) see(b []byte) {
	for len(b) > 0 {
		if f.left > 0 {
			b = b[f.payload(b):]
			continue
		}
		n := copy(f.head[f.has:], b)
		b = b[n:]
		if f.has += n; f.has == len(f.head) {
			f.begin()
		}
	}
}

// begin begins a frame whose head is complete.
func (f *frames) begin() {
	f.has, f.debug = 0, f.debug[:0]
	f.left = int(binary.BigEndian.Uint32(f.head[:4]) >> 8)
	if f.head[3] == typeHeaders {
		f.once.Do(func() { close(f.answered) })
	}
}

// payload takes what there is of the payload, and says how much that was.
func (f *frames) payload(b []byte) int {
	n := min(f.left, len(b))
	f.left -= n
	if f.head[3] == typeGoAway {
		f.debug = append(f.debug, b[:min(n, maxDebug-len(f.debug))]...)
		if f.left == 0 {
			f.goAway.Store(readGoAway(f.debug))
		}
	}
	return n
}

// readGoAway reads the payload of a GOAWAY: the last stream and a code, four bytes each, and what the server has to say.
func readGoAway(payload []byte) *goAway {
	var debug struct {
		Reason string `json:"reason"`
	}
	if len(payload) > 8 {
		_ = json.Unmarshal(payload[8:], &debug) // anything may stand there
	}
	return &goAway{reason: debug.Reason}
}
