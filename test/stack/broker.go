package stack

// The embedded Kafka broker.

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// BrokerOptions say how an embedded broker keeps its records. The zero value keeps them in memory for ever.
type BrokerOptions struct {
	DataDir string        // folder that survives a restart; "" keeps everything in memory
	Address string        // host and port to listen on; "" is a free port of the loopback interface
	Sweep   time.Duration // how often records past their topic's retention are removed; 0: never
}

// Broker is a Kafka-protocol broker in this process: one node, no replication, but the real protocol with groups, generations, compaction and
// retention.
type Broker struct {
	cluster *kfake.Cluster
}

// maxRecordBytes is more than any record that a test feeds. The topics' own limits hold below it.
const maxRecordBytes = 512 << 20

// StartBroker starts a broker and returns when it answers.
func StartBroker(opts BrokerOptions) (*Broker, error) {
	sweep := int64(math.MaxInt64 / int64(2*time.Millisecond)) // as good as never, and still a valid duration
	if opts.Sweep > 0 {
		sweep = max(1, opts.Sweep.Milliseconds())
	}
	config := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": strconv.FormatInt(sweep, 10),
			"message.max.bytes":      strconv.Itoa(maxRecordBytes),
		}),
	}
	address := "127.0.0.1:0"
	if opts.Address != "" {
		address = opts.Address
	}
	config = append(config, kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, address) }))
	if opts.DataDir != "" {
		config = append(config, kfake.DataDir(opts.DataDir))
	}
	cluster, err := kfake.NewCluster(config...)
	if err != nil {
		return nil, fmt.Errorf("embedded Kafka broker: %w", err)
	}
	return &Broker{cluster: cluster}, nil
}

// Address is where clients connect.
func (b *Broker) Address() string { return b.cluster.ListenAddrs()[0] }

// Cluster is the broker's inside, for tests that inject faults.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close stops the broker and writes its data folder out. Connections are cut.
func (b *Broker) Close() { b.cluster.Close() }
