package stack

// One connection of the embedded Apple Push Notification service, frame by frame (RFC 9113).

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// window is how much a client may send before it hears that it may send more.
const window = 1 << 30

// apnsConn is one connection. Its reader goroutine reads, checks and answers; answers that are delayed come from goroutines of their own.
type apnsConn struct {
	apns   *APNs
	net    *tls.Conn
	number int
	reader *bufio.Reader

	received    map[uint32]*apnsRequest // those that are not complete; the reader's
	data        int                     // bytes of the window that are used up; the reader's
	certificate string

	mu        sync.Mutex // guards what follows, and all writing
	writer    *bufio.Writer
	framer    *http2.Framer
	headers   bytes.Buffer
	encoder   *hpack.Encoder
	streams   uint32 // as many may be open
	open      map[uint32]bool
	complete  uint32 // the highest stream whose request was complete
	last      uint32 // of goingAway: streams behind it are not taken
	begun     bool
	goingAway bool
	ending    bool // the reader takes nothing more
	deaf      bool
	delayed   sync.WaitGroup
	ended     chan struct{} // closed when the reader has ended
}

// apnsRequest is a push as far as it has come.
type apnsRequest struct {
	push   APNsPush
	fields fields
}

func newAPNsConn(a *APNs, conn *tls.Conn, number int) *apnsConn {
	c := &apnsConn{
		apns: a, net: conn, number: number, reader: bufio.NewReaderSize(conn, 64<<10), writer: bufio.NewWriterSize(conn, 64<<10),
		received: map[uint32]*apnsRequest{}, open: map[uint32]bool{}, streams: 1, ended: make(chan struct{}),
	}
	c.framer = http2.NewFramer(c.writer, c.reader)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.headers)
	return c
}

// serve answers until the connection ends.
func (c *apnsConn) serve() {
	defer c.apns.forget(c)
	defer c.delayed.Wait()
	defer close(c.ended)
	defer c.end()
	if c.begin() != nil {
		return
	}
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil || !c.take(frame) {
			return
		}
		if c.reader.Buffered() == 0 {
			c.flush()
		}
	}
}

// end closes the connection. After a GOAWAY the client is given time to read it: what it had sent meanwhile would make a reset of a plain end.
func (c *apnsConn) end() {
	c.mu.Lock()
	goingAway := c.goingAway
	c.ending = true
	c.mu.Unlock()
	if goingAway && c.net.CloseWrite() == nil {
		_ = c.net.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, c.net)
	}
	c.net.Close()
}

// endReading makes the reader end the connection, unless it does so already: the time that the client has then must not be cut short. c.mu is held.
func (c *apnsConn) endReading() {
	if !c.ending {
		_ = c.net.SetReadDeadline(time.Now())
	}
}

func (c *apnsConn) begin() error {
	_ = c.net.SetDeadline(time.Now().Add(10 * time.Second))
	if err := c.net.Handshake(); err != nil {
		return err
	}
	_ = c.net.SetDeadline(time.Time{})
	state := c.net.ConnectionState()
	if len(state.PeerCertificates) > 0 {
		for _, name := range state.PeerCertificates[0].Subject.Names {
			if name.Type.Equal(userID) {
				c.certificate = fmt.Sprint(name.Value)
			}
		}
	}
	c.mu.Lock()
	err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.streams}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	if err == nil {
		err = c.framer.WriteWindowUpdate(0, window-65535)
	}
	c.begun = true
	c.mu.Unlock()
	c.flush()
	preface := make([]byte, len(http2.ClientPreface))
	if _, readErr := io.ReadFull(c.reader, preface); readErr != nil || string(preface) != http2.ClientPreface {
		return fmt.Errorf("no HTTP/2: %q", preface)
	}
	return err
}

func (c *apnsConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writer.Flush()
}

// take handles one frame; false ends the connection.
func (c *apnsConn) take(frame http2.Frame) bool {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.write(func() { _ = c.framer.WriteSettingsAck() })
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			data := f.Data
			c.write(func() { _ = c.framer.WritePing(true, data) })
		}
	case *http2.MetaHeadersFrame:
		return c.takeHeaders(f)
	case *http2.DataFrame:
		return c.takeData(f)
	case *http2.RSTStreamFrame:
		delete(c.received, f.StreamID)
		c.write(func() { delete(c.open, f.StreamID) })
	case *http2.GoAwayFrame:
		return false
	}
	return true
}

// write writes frames, unless the connection is deaf. They go out with the next flush.
func (c *apnsConn) write(frames func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deaf {
		frames()
	}
}

func (c *apnsConn) takeHeaders(f *http2.MetaHeadersFrame) bool {
	id := f.StreamID
	c.mu.Lock()
	tooMany, late := uint32(len(c.open)) >= c.streams, c.goingAway && id > c.last
	if !tooMany && !late {
		c.open[id] = true
	}
	if tooMany && !late && !c.deaf {
		_ = c.framer.WriteRSTStream(id, http2.ErrCodeRefusedStream)
	}
	c.mu.Unlock()
	if tooMany && !late {
		c.apns.mu.Lock()
		c.apns.refused++
		c.apns.mu.Unlock()
	}
	if tooMany || late {
		return true
	}
	push := APNsPush{Connection: c.number, Certificate: c.certificate, Header: make(map[string]string, len(f.Fields))}
	c.received[id] = &apnsRequest{push, f.Fields}
	if f.StreamEnded() {
		return c.answer(id)
	}
	return true
}

func (c *apnsConn) takeData(f *http2.DataFrame) bool {
	if c.data += int(f.Length); c.data > window/2 {
		used := uint32(c.data)
		c.data = 0
		c.write(func() { _ = c.framer.WriteWindowUpdate(0, used) })
	}
	request := c.received[f.StreamID]
	if request == nil {
		return true // of a stream that was refused
	}
	push := &request.push
	push.Payload = append(push.Payload, f.Data()...)
	if len(push.Payload) > 64<<10 {
		return false
	}
	if f.StreamEnded() {
		return c.answer(f.StreamID)
	}
	return true
}

// answer answers a request that is complete; false ends the connection.
func (c *apnsConn) answer(id uint32) bool {
	push, came := &c.received[id].push, c.received[id].fields
	delete(c.received, id)
	c.mu.Lock()
	late, before := c.goingAway && id > c.last, c.complete
	if !late {
		c.complete = max(c.complete, id)
	}
	c.mu.Unlock()
	if late {
		return true
	}
	if refused := c.apns.check(push, came); refused != nil {
		push.Refused = true
		return c.reply(id, push, APNsAnswer{Status: refused.status, Reason: refused.reason})
	}
	c.raiseStreams()
	answer := c.apns.next(push)
	if answer.Fault == APNsGoAway {
		return c.goAwayBefore(id, before, push, answer)
	}
	if answer.Delay <= 0 {
		return c.reply(id, push, answer)
	}
	c.delayed.Go(func() {
		select {
		case <-time.After(answer.Delay):
		case <-c.ended:
		}
		stays := c.reply(id, push, answer)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.writer.Flush()
		if !stays {
			c.endReading()
		}
	})
	return true
}

// raiseStreams allows as many streams as there may be, when a credential was accepted.
func (c *apnsConn) raiseStreams() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams != c.apns.opts.Streams && !c.deaf {
		c.streams = c.apns.opts.Streams
		_ = c.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.streams})
	}
}

// reply sends an answer, or fails to; false ends the connection.
func (c *apnsConn) reply(id uint32, push *APNsPush, answer APNsAnswer) bool {
	if answer.Fault != APNsNoFault {
		return c.fail(id, push, answer)
	}
	push.Status, push.Reason = answer.Status, answer.Reason
	if push.Status == 0 {
		push.Status = http.StatusOK
	}
	push.Taken = push.Status == http.StatusOK
	c.apns.observer.tell(*push)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open[id] || c.deaf {
		return true // the client has given up
	}
	delete(c.open, id)
	body := answer.body(push)
	c.headers.Reset()
	c.field(":status", strconv.Itoa(push.Status))
	if push.ID != "" {
		c.field("apns-id", push.ID)
	}
	for name, value := range answer.Header {
		c.field(name, value)
	}
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers.Bytes(), EndHeaders: true, EndStream: body == ""})
	for body != "" {
		part := body[:min(len(body), 16<<10)]
		body = body[len(part):]
		_ = c.framer.WriteData(id, body == "", []byte(part))
	}
	if c.goingAway && len(c.open) == 0 {
		c.writer.Flush()
		return false
	}
	return true
}

func (c *apnsConn) field(name, value string) {
	_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
}

// body is what Apple says beside the status.
func (a *APNsAnswer) body(push *APNsPush) string {
	if a.Body != "" || push.Status == http.StatusOK {
		return a.Body
	}
	reply := struct {
		Reason    string `json:"reason"`
		Timestamp int64  `json:"timestamp,omitzero"` // in milliseconds
	}{Reason: a.Reason}
	if !a.Timestamp.IsZero() {
		reply.Timestamp = a.Timestamp.UnixMilli()
	}
	b, _ := json.Marshal(reply)
	return string(b)
}

// fail treats a push by a fault; false ends the connection.
func (c *apnsConn) fail(id uint32, push *APNsPush, answer APNsAnswer) bool {
	push.Taken = answer.Fault != APNsRefuseStream
	c.apns.observer.tell(*push)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch answer.Fault {
	case APNsSilence:
		return true
	case APNsDeaf:
		c.deaf = true
		return true
	case APNsCut:
		reset(c.net)
		return false
	case APNsReset, APNsRefuseStream:
		code := http2.ErrCodeInternal
		if answer.Fault == APNsRefuseStream {
			code = http2.ErrCodeRefusedStream
		}
		delete(c.open, id)
		_ = c.framer.WriteRSTStream(id, code)
		return true
	}
	c.goAway(c.complete, answer.Reason)
	c.writer.Flush()
	return false
}

// goAwayBefore takes neither this push nor any that is not complete. before is the highest stream that was complete before it; if that is above this one, a GOAWAY alone
// can't say so.
func (c *apnsConn) goAwayBefore(id, before uint32, push *APNsPush, answer APNsAnswer) bool {
	c.apns.observer.tell(*push)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deaf {
		return true
	}
	if id < before {
		_ = c.framer.WriteRSTStream(id, http2.ErrCodeRefusedStream)
	}
	c.goAway(before, answer.Reason)
	for stream := range c.open {
		if stream == id || stream > before {
			delete(c.open, stream)
		}
	}
	c.writer.Flush()
	return len(c.open) > 0
}

// goAway says that streams behind last were not taken. c.mu is held.
func (c *apnsConn) goAway(last uint32, reason string) {
	if c.goingAway || c.deaf || !c.begun {
		return
	}
	c.goingAway, c.last = true, last
	code, debug := http2.ErrCodeNo, []byte(nil)
	if reason != "" {
		code = http2.ErrCodeProtocol
		debug, _ = json.Marshal(map[string]string{"reason": reason})
	}
	_ = c.framer.WriteGoAway(last, code, debug)
}

// goAwayLater ends the connection when what was received is answered.
func (c *apnsConn) goAwayLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goAway(c.complete, "")
	for stream := range c.open {
		if stream > c.complete {
			delete(c.open, stream)
		}
	}
	c.writer.Flush()
	if c.goingAway && len(c.open) == 0 {
		c.endReading()
	}
}
