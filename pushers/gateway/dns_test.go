package gateway_test

// A name server that says what a test wants, on a real socket.

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// serveNames starts a name server and is the resolver that asks it. answer says which addresses a name has, at the n-th question for each kind of address, from 0.
func serveNames(t testing.TB, answer func(name string, n int) []string) *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		asked := map[string]int{}
		for buf := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			conn.WriteTo(reply(buf[:n], asked, answer), from)
		}
	})
	t.Cleanup(func() { conn.Close(); serving.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// reply is the answer to a query with one question (RFC 1035, section 4).
func reply(query []byte, asked map[string]int, answer func(string, int) []string) []byte {
	const header = 12
	var labels []string
	end := header
	for query[end] != 0 {
		length := int(query[end])
		labels = append(labels, string(query[end+1:end+1+length]))
		end += 1 + length
	}
	name, kind := strings.Join(labels, "."), binary.BigEndian.Uint16(query[end+1:])
	end += 5 // the zero, type and class
	out := append([]byte(nil), query[:end]...)
	question := string(query[header:end]) // with its type
	n := asked[question]
	asked[question]++
	count := uint16(0)
	for _, text := range answer(name, n) {
		addr := netip.MustParseAddr(text)
		if addr.Is4() != (kind == 1) {
			continue
		}
		count++
		out = append(out, 0xc0, header)                // the name of the question
		out = binary.BigEndian.AppendUint16(out, kind) // A or AAAA
		out = append(out, 0, 1, 0, 0, 0, 0)            // class IN, not to be kept
		out = binary.BigEndian.AppendUint16(out, uint16(len(addr.AsSlice())))
		out = append(out, addr.AsSlice()...)
	}
	out[2], out[3] = 0x84, 0x80 // a reply, with authority; recursion available
	binary.BigEndian.PutUint16(out[6:], count)
	binary.BigEndian.PutUint16(out[8:], 0)
	binary.BigEndian.PutUint16(out[10:], 0)
	return out
}
