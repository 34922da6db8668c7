package integration

// Worker processes that are killed while they tell devices directly.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
)

// worker starts a process of the product's own binary, with the world's apps. It is dead when the test is over.
func (d *direct) worker() *exec.Cmd {
	d.Helper()
	path, err := program()
	if err != nil {
		d.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(d.Context()), path, "worker")
	cmd.Env = append(d.environment(), "TOCSIN_KAFKA_SESSION_TIMEOUT=6s", "TOCSIN_DELIVERY_PUSH_FROM=beginning", "TOCSIN_ADMIN_LISTEN=", "TOCSIN_LOG_LEVEL=warn", "TOCSIN_APPS="+d.appsAsJSON())
	cmd.Stderr = d.logs
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// appsAsJSON are the apps at Apple and Google as an operator writes them.
func (d *direct) appsAsJSON() string {
	d.Helper()
	all := map[string]any{}
	for name, app := range d.cfg.Apps {
		switch app := app.(type) {
		case *apns.Config:
			all[name] = map[string]any{"type": "apns", "base_url": app.BaseURL, "ca_file": app.CAFile, "key_file": app.KeyFile, "key_id": app.KeyID, "team_id": app.TeamID, "topic": app.Topic}
		case *fcm.Config:
			all[name] = map[string]any{"type": "fcm", "base_url": app.BaseURL, "ca_file": app.CAFile, "service_account_file": app.ServiceAccountFile}
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		d.Fatal(err)
	}
	return string(bytes.TrimSpace(text))
}

// A worker dies between Apple's answer and the ledger: this one notification comes twice, by the same name, and no other.
func TestCrashBetweenApplesAnswerAndLedger(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.appleApp("ios", "TEAM012345")
	d.iPhone("@dave:"+server, "ios", "iphone", 1)
	d.roomOf("!r:hs", "@dave:"+server)
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	d.held["apns"] = held
	r := d.ready(d.start())
	d.write(d.message("!r:hs", "$one"))
	d.until("the request is under way", 60*time.Second, func() bool { return d.holding.Load() == 1 })
	d.link.cut()
	release()
	d.until("Apple has answered", 60*time.Second, func() bool { return d.taken("iphone", "$one") == 1 })
	r.kill()
	d.link.heal()
	r = d.ready(d.start())
	d.write(d.message("!r:hs", "$after"))
	d.settled(r)
	d.directlyIs("in the end", map[string]int{"$one iphone": 2, "$after iphone": 1})
	d.oneNamePerPush()
	r.stop()
}

// A worker that stops and starts again and again tells no device anything twice, and forgets nothing.
func TestCleanStopsDoubleNothingDirectly(t *testing.T) {
	t.Parallel()
	d, devices := everyKind(t, 2)
	d.spareRedis()
	var r *running
	var all []string
	for step := range 8 {
		if r != nil {
			r.stop()
		}
		r = d.ready(d.start())
		for i := range 20 {
			id := fmt.Sprintf("$stop%d-%d", step, i)
			all = append(all, id)
			d.write(d.message("!r:hs", id))
		}
	}
	d.settled(r)
	d.directlyIs("in the end", once(all, others(devices, "")...))
	d.oneNamePerPush()
	r.stop()
}

// Workers are killed twice in the middle of some thousand notifications for devices at Apple and Google. Everything arrives; what comes twice is what was under way, and Apple hears of it
// by the same name.
func TestKilledWhileTellingDirectly(t *testing.T) {
	t.Parallel()
	const users, rooms, events = 4, 20, 500
	d := newDirect(t)
	d.spareRedis()
	d.appleApp("ios", "TEAM012345")
	d.googleApp("android")
	var all, devices []string
	for i := range users {
		all, devices = append(all, userOf(i)), append(devices, fmt.Sprintf("iphone%d", i), fmt.Sprintf("phone%d", i))
		d.iPhone(userOf(i), "ios", fmt.Sprintf("iphone%d", i), 1)
		d.android(userOf(i), "android", fmt.Sprintf("phone%d", i))
	}
	room := func(i int) string { return fmt.Sprintf("!r%d:hs", i%rooms) }
	for i := range rooms {
		d.roomOf(room(i), all...)
	}
	names := ids("kill", events)
	for i, id := range names {
		d.write(d.message(room(i), id))
	}
	total := events * len(devices)
	shares := []int{5, 2} // after a fifth, after a half
	for _, share := range shares {
		worker := d.worker()
		d.until(fmt.Sprintf("one in %d is told", share), 120*time.Second, func() bool { return len(d.directly()) >= total/share })
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait() // it was killed: that is no news
		if len(d.directly()) >= total {
			t.Error("everything had been told before the worker was killed: this proves nothing")
		}
	}
	worker := d.worker()
	d.until("everybody is told of everything", 240*time.Second, func() bool { return len(d.directly()) >= total })
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	twice, told := 0, d.directly()
	for name := range once(names, devices...) {
		if told[name] == 0 {
			t.Errorf("%s was lost", name)
		}
		twice += max(told[name]-1, 0)
	}
	t.Logf("%d of %d notifications came twice", twice, total)
	if most := len(shares) * len(devices); twice > most {
		t.Errorf("%d notifications came twice, and at most %d were under way when the workers were killed", twice, most)
	}
	if len(told) != total {
		t.Errorf("%d notifications were told, want %d", len(told), total)
	}
	d.oneNamePerPush()
}
