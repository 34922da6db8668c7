package integration

// Push services that are away, or silent, while all others go on.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/fcm"
)

// door is an address of the loopback that refuses connections until it is opened, and leads to another one from then on.
type door struct {
	*testing.T
	socket  int
	Address string
	open    func()
}

// newDoor makes a closed one. Its port is taken, so nobody else gets it meanwhile; as nobody listens there, the machine refuses connections.
func newDoor(t *testing.T, target string) *door {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{T: t, socket: socket}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	d.Address = fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	d.open = sync.OnceFunc(func() { d.listen(target) })
	t.Cleanup(d.open) // which closes the socket, too
	return d
}

// listen lets connections through from now on.
func (d *door) listen(target string) {
	d.Helper()
	if err := syscall.Listen(d.socket, 128); err != nil {
		d.Fatal(err)
	}
	file := os.NewFile(uintptr(d.socket), "door")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		d.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				running.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					in.Close()
					out.Close()
				})
			}
		}
	})
	d.Cleanup(func() { listener.Close(); running.Wait() })
}

// everyKind is a world in which so many users have a device of each kind, and one whose app is told by the gateway. It returns the devices of each kind.
func everyKind(t *testing.T, users int) (d *direct, devices map[string][]string) {
	t.Helper()
	d, devices = newDirect(t), map[string][]string{}
	var all []string
	for _, kind := range kinds {
		d.app(kind, kind)
	}
	for i := range users {
		all = append(all, userOf(i))
		for _, kind := range kinds {
			device := fmt.Sprintf("%s%d", kind, i)
			devices[kind] = append(devices[kind], device)
			d.deviceOf(kind, userOf(i), kind, device)
		}
		d.device(userOf(i), "app", fmt.Sprintf("pc%d", i), "push.example")
		devices["gateway"] = append(devices["gateway"], fmt.Sprintf("pc%d", i))
	}
	d.roomOf("!r:hs", all...)
	return d, devices
}

// others are the devices of all kinds but one that are told directly.
func others(devices map[string][]string, but string) (all []string) {
	for _, kind := range kinds {
		if kind != but {
			all = append(all, devices[kind]...)
		}
	}
	return all
}

// One kind of service refuses connections for a while: all others are told of everything meanwhile, and what waited comes once.
func TestServiceIsAway(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d, devices := everyKind(t, 8)
			d.timeless()
			d.cfg.Delivery.Breaker.Open = 200 * time.Millisecond
			comeBack := d.away(kind)
			r := d.ready(d.start())
			events := ids("away", 10)
			for _, id := range events {
				d.write(d.message("!r:hs", id))
			}
			d.hears("a push service is away", "provider="+kind)
			d.atRest(r)
			d.directlyIs("while it is away", once(events, others(devices, kind)...))
			d.toldIs(d.gateway, once(events, devices["gateway"]...))
			d.hears("detail=service_down", "app="+kind)
			comeBack()
			d.settle(r)
			d.hears("a push service is back", "provider="+kind)
			d.directlyIs("when it is back", once(events, append(others(devices, kind), devices[kind]...)...))
			d.toldIs(d.gateway, once(events, devices["gateway"]...))
			if dead, told := d.dead(), d.feedback(); len(dead) > 0 || len(told) > 0 {
				t.Errorf("dead letters %v, feedback %v", dead, told)
			}
			r.stop()
		})
	}
}

// away makes a kind of service refuse connections, until it is told to come back.
func (d *direct) away(kind string) (comeBack func()) {
	d.Helper()
	switch app := d.cfg.Apps[kind].(type) {
	case *apns.Config:
		at := newDoor(d.T, d.apple.URL()[len("https://"):])
		app.BaseURL = "https://" + at.Address
		return at.open
	case *fcm.Config:
		at := newDoor(d.T, d.google.Address())
		app.BaseURL, app.TokenURL = "https://"+at.Address, "https://"+at.Address+"/token"
		return at.open
	}
	var back atomic.Bool
	d.webPush.Outbound.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !back.Load() {
			return nil, errors.New("connection refused")
		}
		return d.browsers.Dial(ctx, network, address)
	}
	return func() { back.Store(true) }
}

// One kind of service takes everything and says nothing: all others are told of everything meanwhile, however long it goes on.
func TestServiceIsSilent(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d, devices := everyKind(t, 5)
			d.spareRedis()
			const most = time.Minute // it is silent until it is released
			d.cfg.Delivery.Timeout, d.cfg.Kafka.DrainTimeout, d.cfg.Kafka.StuckAfter = most, 2*most, 3*most
			d.cfg.Apps[apps.TypeAPNs].(*apns.Config).Timeout = most
			d.cfg.Apps[apps.TypeFCM].(*fcm.Config).Timeout = most
			held := make(chan struct{})
			release := sync.OnceFunc(func() { close(held) })
			defer release()
			d.held[kind] = held
			r := d.ready(d.start())
			events := ids("line", 15)
			for _, id := range events {
				d.write(d.message("!r:hs", id))
			}
			rest := others(devices, kind)
			d.until("all users of the others have heard everything", 60*time.Second, func() bool {
				return len(d.directly()) >= len(events)*len(rest) && len(d.told(d.gateway)) >= len(events)*len(devices["gateway"])
			})
			d.directlyIs("while it is silent", once(events, rest...))
			d.toldIs(d.gateway, once(events, devices["gateway"]...))
			release()
			d.settle(r)
			d.directlyIs("afterwards", once(events, append(rest, devices[kind]...)...))
			d.toldIs(d.gateway, once(events, devices["gateway"]...))
			r.stop()
		})
	}
}
