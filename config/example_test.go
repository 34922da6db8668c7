package config_test

import (
	"fmt"

	"tocsin/config"
)

func ExampleParse() {
	file := []byte(`
homeserver:
  server_name: example.org
kafka:
  brokers: [kafka-1:9092, kafka-2:9092]
`)
	c, err := config.Parse(file, []string{"TOCSIN_KAFKA_CLIENT_ID=night-shift"})
	fmt.Println(c.Homeserver.ServerName, c.Kafka.Brokers, c.Kafka.ClientID, c.Kafka.Compression, err)
	// Output: example.org [kafka-1:9092 kafka-2:9092] night-shift lz4 <nil>
}

// Everything that is wrong is said at once.
func ExampleParse_faults() {
	file := []byte(`homeserver:
  server_name: https://example.org
kafka:
  broker: [kafka-1:9092]
  drain_timeout: 30
`)
	_, err := config.Parse(file, []string{"TOCSIN_LOG_LEVEL=loud"})
	fmt.Println(err)
	// Output:
	// line 2:3: homeserver.server_name: "https://example.org" is no server name: it is a URL; write the name alone, such as example.org
	// line 4:3: kafka.broker: is not a key; did you mean kafka.brokers?
	// line 5:3: kafka.drain_timeout: must be a duration such as 500ms, 5s or 1h30m: "30" has no unit
	// TOCSIN_LOG_LEVEL: log.level: "loud" is none of debug, info, warn, error
}

func ExampleMerge() {
	c := config.Default()
	err := config.Merge(c, []byte(`{"homeserver":{"server_name":"example.org"},"rules":{"dialect":"2015"}}`))
	fmt.Println(c.Rules.Dialect, err)
	// Output: 2015 <nil>
}
