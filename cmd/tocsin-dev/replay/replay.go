// Package replay feeds recorded input through the worker's own pipeline and writes down what leaves it. It is how an operator tries rules and
// settings on captured traffic, and how the end-to-end scenarios of test/e2e run.
//
// The input is JSON lines. A line is a record of one of the two input topics,
//
//	{"topic":"events"|"account","key":"…","value":{…}|"raw string"|null,"headers":{"…":"…"}}
//
// or tells replay something:
//
//	{"config":{…}}                                  settings of the worker, by the keys of its configuration file; first line only
//	{"gateway":{"status":503,"times":2}}            how the push gateway answers the next requests; queued behind what waits already
//	{"gateway":{"rejected":["pushkey"],"times":1}}
//	{"gateway":{"delay":"200ms","times":5}}         in real time
//	{"gateway":{"status":429,"headers":{"Retry-After":"60"}}}
//	{"provider":{"app_id":"…","status":410,"reason":"Unregistered","times":1}}
//	{"wait":"idle"}                                 go on only when all that was fed is settled
//
// A value is fed byte for byte: an object as it stands in the line, a string as its text. Without "key" a record has the key that a homeserver
// would give it. The output is JSON lines, too: "push" for each request that the gateway received, "dead_letter" and "feedback" for each record of those topics.
//
// # Apps that are told directly
//
// The apps that section apps of the settings lists are told by APNs, FCM and Web Push services of the replay's own, whatever the section says of keys and
// addresses: these need not be there, and if they are, neither the files are opened nor the servers asked. So the section of a deployment can be used as it is, and this much is enough:
//
//	{"config":{"apps":{"im.vector.ios":{"type":"apns","topic":"im.vector.app"},"im.vector.droid":{"type":"fcm"},"web.*":{"type":"webpush"}}}}
//
// An app of type apns has its app id as topic, if that is missing; a pattern has org.example.app. A gateway of an app's own is the replay's one, as all gateways are. Each push is a line
//
//	{"kind":"push","provider":"apns"|"fcm"|"webpush","app_id":"…","headers":{…},"body":{…},"status":200}
//
// with the headers that say something, which no credential does, and with the body of Web Push as a browser reads it. How the next pushes are answered is said by "provider" lines, by
// [stack.ParseProviderAnswer]: for one app (app_id, as it is listed or of a device), for all of a provider, or for any. They queue as those of the gateway do.
//
// # Time
//
// There is one clock, and the wall clock has no say in it. It begins with the first origin_server_ts of the file and follows the newest; a line
// moves it by a day at most, and timers that fall due on the way fire first, each with everything that follows from it. After each line
// replay waits until nothing runs. At {"wait":"idle"}, and at the end, the clock jumps from timer to timer until nothing waits any more. So the same
// input gives the same output, in the same order, in any year.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"tocsin/clock"
	"tocsin/cmd/app"
	"tocsin/config"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// Options say what is replayed, and against what.
type Options struct {
	File    string    // to be read; "-" is Stdin
	Stdin   io.Reader // used if File is "-"
	Output  io.Writer // gets one line for each thing that left the pipeline, and nothing else
	Log     *slog.Logger
	Servers *Servers // nil: embedded ones, just for this replay
}

// Servers are servers that somebody else runs.
type Servers struct {
	Kafka, Redis []string // addresses
	Prefix       string   // of all topics, groups and keys, so that nobody else's are touched. They are left behind.
}

// run is one replay.
type run struct {
	worker  *app.Worker
	ended   chan struct{} // closed when the worker has ended
	endedBy error         // why; read it after ended is closed
	clock   *clock.Virtual
	log     *stack.Log
	out     *output
	gateway *stack.Gateway
	direct  *services
	names   *config.Config
	topics  topics

	redis     *stack.RedisServer // nil: not ours, its keys expire by its own clock
	redisTime time.Time          // how far its time has been moved
}

// Run replays a file. An [*InputError] says that the input is not of the form above, and then nothing has been fed.
func Run(ctx context.Context, opts Options) (err error) {
	in, err := openInput(opts.File, opts.Stdin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r := &run{ended: make(chan struct{}), clock: clock.NewVirtual(in.start), redisTime: in.start}
	r.out = &output{w: opts.Output, urls: map[string]string{}}
	if r.direct, err = openServices(in.config, r.clock.Now, r.out.direct); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.direct.close()) }()
	if r.names, err = settings(in, r.direct.settings); err != nil {
		return err
	}
	if err := r.direct.check(in); err != nil {
		return err
	}
	for _, url := range r.direct.gateways {
		r.out.knows(url)
	}
	servers := opts.Servers
	if servers == nil {
		broker, err := stack.StartBroker(stack.BrokerOptions{})
		if err != nil {
			return err
		}
		defer broker.Close()
		if r.redis, err = stack.StartRedis(""); err != nil {
			return err
		}
		defer r.redis.Close()
		r.redis.FreezeTime(in.start)
		servers = &Servers{Kafka: []string{broker.Address()}, Redis: []string{r.redis.Address()}}
	}
	connect(r.names, servers)
	if r.gateway, err = stack.StartGateway(stack.GatewayOptions{Observe: r.out.push}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.gateway.Close()) }()
	return r.with(ctx, in, servers, opts.Log)
}

// partitions of each topic: one, so that there is one order of things.
const partitions = 1

// limits are the settings in which a replay's topics differ from a deployment's: records are years old, and must stay; a line may be of any length.
var limits = map[string]string{"retention.ms": "-1", "max.message.bytes": strconv.Itoa(2 * maxLine)}

// with runs the worker beside the feeding of the input.
func (r *run) with(ctx context.Context, in *input, servers *Servers, log *slog.Logger) (err error) {
	if err := app.CreateTopics(ctx, r.names, app.TopicOptions{Partitions: partitions, Replication: 1}, io.Discard); err != nil {
		return err
	}
	r.topics = topicsOf(r.names, partitions)
	if r.log, err = stack.DialLog(servers.Kafka, r.topics.outcomes, partitions); err != nil {
		return err
	}
	defer r.log.Close()
	if err := r.await(ctx); err != nil {
		return err
	}
	if err := r.log.Configure(ctx, r.topics.all, limits); err != nil {
		return err
	}
	how := app.Options{Log: log, Clock: r.clock, PushDial: r.gateway.Dial, WebPush: webpush.Options{Recipient: stack.WebPushKeys}}
	if r.worker, err = app.New(r.names, how); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		r.endedBy = r.worker.Run(running, ctx)
		close(r.ended)
	}()
	defer func() {
		stop()
		<-r.ended
		if err == nil {
			err = r.endedBy
		}
	}()
	return r.feed(ctx, in)
}

// await waits until the new topics are known everywhere: a real cluster spreads the news for a moment.
func (r *run) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := r.log.Refresh(ctx, r.topics.all, r.topics.partitions)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// feed feeds the lines in order, and then waits until everything is settled.
func (r *run) feed(ctx context.Context, in *input) error {
	if _, err := r.settle(ctx); err != nil {
		return err
	}
	for l, err := range in.lines() {
		if err == nil {
			err = r.do(ctx, l)
		}
		if err != nil {
			return err
		}
	}
	return r.idle(ctx)
}

// do makes one line happen.
func (r *run) do(ctx context.Context, l line) error {
	switch {
	case l.gateway != nil:
		r.gateway.Script(*l.gateway)
	case l.direct != nil:
		return r.direct.script(*l.direct)
	case l.idle:
		return r.idle(ctx)
	case l.record != nil:
		return r.write(ctx, l.record)
	}
	return nil
}

// write feeds one record, and waits until the worker has done what it can do about it now.
func (r *run) write(ctx context.Context, rec *record) error {
	topic := r.names.Topics.Account
	if rec.topic == topicEvents {
		topic = r.names.Topics.Events
		if err := r.moveTo(ctx, r.follow(rec.value)); err != nil {
			return err
		}
	} else if p, ok := pusherOf(rec.value); ok {
		r.out.knows(p.url)
		r.direct.knows(p)
	}
	if err := r.log.Append(ctx, stack.Record{Topic: topic, Key: rec.key, Value: rec.value, Headers: rec.headers, Time: r.clock.Now()}); err != nil {
		return err
	}
	_, err := r.settle(ctx)
	return err
}

// report writes down what has come to the outcome topics.
func (r *run) report(ctx context.Context) error {
	return r.log.Read(ctx, func(rec stack.Record) error {
		switch rec.Topic {
		case r.names.Topics.DeadLetter:
			return r.out.deadLetter(&rec)
		case r.names.Topics.Feedback:
			return r.out.feedback(&rec)
		}
		return fmt.Errorf("a record of topic %s, which nobody asked for", rec.Topic)
	})
}
