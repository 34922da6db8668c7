package stack

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// echo is a server behind a gate that sends back what it hears.
func echo(t *testing.T) *gate {
	t.Helper()
	g, err := openGate("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		for {
			conn, err := g.Accept()
			if err != nil {
				ended <- err
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the server ended with %v", err)
		}
		if err := g.set(Silent); !errors.Is(err, net.ErrClosed) {
			t.Errorf("an outage of what is closed: %v", err)
		}
	})
	return g
}

// dial connects, and shouts. It says whether there is an echo.
func shout(t *testing.T, conn net.Conn) (answered bool, err error) {
	t.Helper()
	if _, err := conn.Write([]byte("hey")); err != nil {
		return false, err
	}
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := io.ReadFull(conn, make([]byte, 3))
	return n == 3, err
}

func TestGate(t *testing.T) {
	t.Parallel()
	g := echo(t)
	dial := func() (net.Conn, error) {
		conn, err := net.Dial("tcp", g.Addr().String())
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return conn, err
	}
	set := func(how Outage) {
		t.Helper()
		if err := g.set(how); err != nil || g.outage() != how {
			t.Fatalf("%s: %v", how, err)
		}
	}
	for range 2 {
		before, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		if answered, err := shout(t, before); !answered {
			t.Fatalf("no outage: %v", err)
		}
		set(Silent)
		during, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		for _, conn := range []net.Conn{before, during} {
			answered, err := shout(t, conn)
			if timeout := net.Error(nil); answered || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("in silence: %v, %v", answered, err)
			}
		}
		set(NoOutage)
		for _, conn := range []net.Conn{before, during} {
			if n, err := conn.Read(make([]byte, 3)); n != 0 || err == nil || errors.Is(err, net.ErrClosed) {
				t.Errorf("after silence: %d bytes, %v", n, err)
			}
		}
		after, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		set(Refused)
		if answered, _ := shout(t, after); answered {
			t.Error("a connection has outlived the outage")
		}
		if _, err := dial(); err == nil {
			t.Error("connections are not refused")
		}
		set(NoOutage)
	}
	set(Refused) // closed as it is
}
