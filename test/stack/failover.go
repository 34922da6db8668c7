package stack

// A Redis that loses its last writes.

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// ForgetfulRedis is a Redis of one test's own that can fail over to what it held at an earlier moment. It is a process of redis-server where TOCSIN_TEST_REDIS names a real
// Redis, else an embedded one.
type ForgetfulRedis struct {
	RedisServers
	dir     string
	process *exec.Cmd
}

// Snapshot is what a [ForgetfulRedis] held at a moment.
type Snapshot struct {
	embedded contents
	file     string
}

// NewForgetfulRedis starts one; it ends with the test.
func NewForgetfulRedis(t TB) *ForgetfulRedis {
	t.Helper()
	if len(addresses(RedisVariable)) == 0 {
		return &ForgetfulRedis{RedisServers: Redis(t)}
	}
	dir, err := os.MkdirTemp("", "tocsin-redis-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	r := &ForgetfulRedis{RedisServers: RedisServers{Addresses: []string{free.Addr().String()}, Prefix: "forgetful:"}, dir: dir}
	free.Close()
	t.Cleanup(func() { r.kill(); os.RemoveAll(dir) })
	if err := r.start(); err != nil {
		t.Fatalf("%v", err)
	}
	return r
}

// Snapshot copies what the server holds, while nobody writes.
func (r *ForgetfulRedis) Snapshot(t TB) Snapshot {
	t.Helper()
	if r.Embedded != nil {
		return Snapshot{embedded: r.Embedded.snapshot()}
	}
	client := redis.NewClient(&redis.Options{Addr: r.Addresses[0]})
	defer client.Close()
	if err := client.Save(context.Background()).Err(); err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	taken, err := os.CreateTemp(r.dir, "snapshot-")
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	defer taken.Close()
	saved, err := os.ReadFile(filepath.Join(r.dir, "dump.rdb"))
	if err == nil {
		_, err = taken.Write(saved)
	}
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	return Snapshot{file: taken.Name()}
}

// FailOver ends the server, and starts another process at the same address with what the first had held.
func (r *ForgetfulRedis) FailOver(t TB, s Snapshot) {
	t.Helper()
	if r.Embedded != nil {
		if err := r.Embedded.failOver(s.embedded); err != nil {
			t.Fatalf("fail over: %v", err)
		}
		return
	}
	r.kill()
	saved, err := os.ReadFile(s.file)
	if err == nil {
		err = os.WriteFile(filepath.Join(r.dir, "dump.rdb"), saved, 0o600)
	}
	if err == nil {
		err = r.start()
	}
	if err != nil {
		t.Fatalf("fail over: %v", err)
	}
}

// start runs a server on what stands in its directory, and returns when it has read that.
func (r *ForgetfulRedis) start() error {
	host, port, err := net.SplitHostPort(r.Addresses[0])
	if err != nil {
		return err
	}
	r.process = exec.Command("redis-server", "--bind", host, "--port", port, "--dir", r.dir, "--save", "", "--appendonly", "no", "--logfile", filepath.Join(r.dir, "log"))
	if err := r.process.Start(); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: r.Addresses[0], MaxRetries: -1})
	defer client.Close()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := client.Ping(context.Background()).Err()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("redis-server does not answer: %w; its log is in %s", err, r.dir)
		}
	}
}

// kill ends the server without a chance to save anything.
func (r *ForgetfulRedis) kill() {
	if r.process != nil {
		_ = r.process.Process.Kill()
		_ = r.process.Wait()
		r.process = nil
	}
}
