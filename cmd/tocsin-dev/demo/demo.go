// Package demo is what a newcomer sees first: the real worker, on an embedded Kafka, an embedded Redis and a push gateway in the same process,
// with a small homeserver that makes traffic. [Run] prints each event and what the worker made of it.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tocsin/cmd/app"
	"tocsin/config"
	"tocsin/pipeline/stream"
	"tocsin/test/stack"
)

// Options say where the demo keeps its data and how it shows itself.
type Options struct {
	Data    string       // folder of the broker; "" is a temporary one, removed at the end
	Output  io.Writer    // the screen
	Colours bool         // see Colours
	Log     slog.Handler // gets what the worker says and the screen does not show
}

// servers are the embedded ones.
type servers struct {
	broker  *stack.Broker
	redis   *stack.RedisServer
	gateway *stack.Gateway
}

// sweep is how often the broker removes what is past its time.
const sweep = time.Minute

// Run shows the demo until ctx ends, then stops everything and returns nil; when hard ends it stops at once.
func Run(ctx, hard context.Context, opts Options) (err error) {
	if opts.Data == "" {
		if opts.Data, err = os.MkdirTemp("", "tocsin-dev-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(opts.Data)) }()
	}
	s, stop, err := start(opts.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	run := strings.ToLower(rand.Text()[:6])
	cfg := settings(s, run)
	if err := app.CreateTopics(ctx, cfg, app.TopicOptions{Partitions: 4, Replication: 1}, io.Discard); err != nil {
		return err
	}
	banner(opts, s)
	return perform(ctx, hard, opts, cfg, s, run)
}

// start starts the embedded servers.
func start(data string) (s servers, stop func() error, err error) {
	if s.broker, err = stack.StartBroker(stack.BrokerOptions{DataDir: data, Sweep: sweep}); err != nil {
		return s, nil, err
	}
	if s.redis, err = stack.StartRedis(""); err != nil {
		s.broker.Close()
		return s, nil, err
	}
	if s.gateway, err = stack.StartGateway(stack.GatewayOptions{Answer: rejectDeadKeys}); err != nil {
		s.redis.Close()
		s.broker.Close()
		return s, nil, err
	}
	return s, func() error {
		err := s.gateway.Close()
		s.redis.Close()
		s.broker.Close()
		return err
	}, nil
}

// rejectDeadKeys is the gateway's own mind: it knows one device that is gone.
func rejectDeadKeys(r stack.Request) stack.Answer {
	if strings.Contains(string(r.Body), deadKey) {
		return stack.Answer{Rejected: []string{deadKey}}
	}
	return stack.Answer{}
}

// settings are the worker's defaults, at the embedded servers. The pushers' gateway is on a loopback address, which a worker refuses unless it is allowed.
//
// The embedded Redis begins empty, while the broker's folder may be an old one. So each run has consumer groups of its own: they read everything again, and push nothing
// that is older than the run.
func settings(s servers, run string) *config.Config {
	cfg := config.Default()
	cfg.Homeserver.ServerName = server
	cfg.Kafka.Brokers, cfg.Redis.Addresses, cfg.Admin.Listen = []string{s.broker.Address()}, []string{s.redis.Address()}, ""
	cfg.Kafka.GroupPrefix = "tocsin-dev." + run
	cfg.Delivery.AllowHTTP, cfg.Delivery.AllowCIDRs = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	return cfg
}

func gatewayURL(s servers) string { return "http://" + s.gateway.Address() + "/_matrix/push/v1/notify" }

// banner says what runs where.
func banner(opts Options, s servers) {
	p := paint{opts.Colours}
	fmt.Fprintf(opts.Output, `%s  a tocsin worker with its servers in one process, and a homeserver that makes traffic. Ctrl-C stops it.

  Kafka    %s   kcat -b %[2]s -t matrix.room-events -C
  Redis    %s   redis-cli -p %s keys '*'
  Gateway  %s
  Data     %s
`, p.bold("tocsin-dev"), s.broker.Address(), s.redis.Address(), port(s.redis.Address()), gatewayURL(s), opts.Data)
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// perform runs the worker, the traffic and the screen.
func perform(ctx, hard context.Context, opts Options, cfg *config.Config, s servers, run string) error {
	screen := NewScreen(opts.Output, opts.Colours, whyNot)
	log := slog.New(NewHandler(screen, opts.Log))
	worker, err := app.New(cfg, app.Options{Log: log})
	if err != nil {
		return err
	}
	cluster, err := stream.Connect(cfg.Kafka)
	if err != nil {
		return err
	}
	defer cluster.Close()
	writer := cluster.NewWriter(stream.WriterConfig{})
	defer writer.Close()

	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() { screen.Run(watching); close(watched) }()
	defer func() { stopWatching(); <-watched }()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return worker.Run(ctx, hard) })
	g.Go(func() error {
		p := &play{
			homeserver: &homeserver{
				writer: writer, topics: cfg.Topics, screen: screen, url: gatewayURL(s), run: run,
				joined: map[string]map[string]bool{}, names: map[string]string{},
			},
			gateway: s.gateway, last: map[string]string{},
		}
		err := p.act(ctx, worker)
		if ctx.Err() != nil {
			return nil // stopped in the middle of something: that is how it ends
		}
		return err
	})
	return g.Wait()
}

// act is the whole play.
func (p *play) act(ctx context.Context, worker *app.Worker) error {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	for worker.Ready() != nil {
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	if err := p.opening(ctx); err != nil {
		return err
	}
	return p.trickle(ctx)
}
