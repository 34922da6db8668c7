module tocsin

go 1.26.0

require (
	code.dny.dev/ssrf v0.3.0 // which addresses are private, from the IANA registries
	github.com/SherClockHolmes/webpush-go v1.4.0 // encryption of Web Push messages
	github.com/alecthomas/kong v1.17.0 // command lines
	github.com/alicebob/miniredis/v2 v2.40.0 // the embedded Redis, for tests and tocsin-dev
	github.com/cenkalti/backoff/v5 v5.0.3 // pauses between attempts to reach a server
	github.com/cespare/xxhash/v2 v2.3.0 // shards of users and rooms
	github.com/compose-spec/compose-go/v2 v2.16.2 // reads docker-compose.yml in its test
	github.com/fsnotify/fsnotify v1.10.1 // sees that the file of a credential has changed
	github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3 // the coming encoding/json/v2: exact names, no repeated ones
	github.com/gobwas/glob v1.1.0 // patterns of push rules
	github.com/goccy/go-yaml v1.19.2 // the configuration file, with line and column
	github.com/golang-jwt/jwt/v5 v5.3.1 // tokens for Apple, and of Web Push, as webpush-go makes them, too
	github.com/google/go-cmp v0.7.0 // comparison in tests
	github.com/maypok86/otter/v2 v2.4.0 // caches with bounds
	github.com/prometheus/client_golang v1.24.1 // serves those metrics
	github.com/prometheus/otlptranslator v1.0.0 // the names that they have there
	github.com/redis/go-redis/v9 v9.23.0 // Redis
	github.com/segmentio/kafka-go v0.4.51 // Kafka
	github.com/sideshow/apns2 v0.25.0 // pushes to Apple devices
	github.com/sony/gobreaker/v2 v2.4.0 // breakers of push services
	github.com/twmb/franz-go v1.22.2 // what kfake is built on; a second client in tests
	github.com/twmb/franz-go/pkg/kfake v0.0.0-20260918054303-01f206a7e32c // the embedded Kafka, for tests and tocsin-dev
	github.com/twmb/franz-go/pkg/kmsg v1.15.0 // faults of the embedded Kafka, in tests
	go.opentelemetry.io/otel v1.47.0 // traces and metrics
	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp v1.47.0 // traces as collectors take them
	go.opentelemetry.io/otel/exporters/prometheus v0.69.0 // metrics as Prometheus reads them
	go.opentelemetry.io/otel/metric v1.47.0 // the instruments
	go.opentelemetry.io/otel/sdk v1.47.0 // what makes spans
	go.opentelemetry.io/otel/sdk/metric v1.47.0 // what counts them
	go.opentelemetry.io/otel/trace v1.47.0 // spans
	go.uber.org/goleak v1.3.0 // goroutines left behind, in tests
	golang.org/x/net v0.62.0 // HTTP/2 that tells why a connection was given up; frames of the fake APNs, in tests
	golang.org/x/oauth2 v0.37.0 // access tokens of Google
	golang.org/x/sync v0.24.0 // groups of goroutines
	pgregory.net/rapid v1.3.0 // property tests
	software.sslmate.com/src/go-pkcs12 v0.7.4 // certificates in .p12 files, of today's exporters too
)

require (
	go.opentelemetry.io/proto/otlp v1.11.1 // what a collector is sent, in tests
	google.golang.org/protobuf v1.36.12 // how, in tests
)

require (
	github.com/BurntSushi/toml v1.4.1-0.20240526193622-a339e1f7089c // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/distribution/reference v0.5.0 // indirect
	github.com/docker/go-connections v0.4.0 // indirect
	github.com/docker/go-units v0.5.0 // indirect
	github.com/go-logr/logr v1.4.4 // indirect
	github.com/go-logr/stdr v1.2.2 // indirect
	github.com/go-viper/mapstructure/v2 v2.5.0 // indirect
	github.com/golang-jwt/jwt/v4 v4.4.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.31.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mattn/go-shellwords v1.0.12 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.1 // indirect
	github.com/sirupsen/logrus v1.10.1 // indirect
	github.com/xdg-go/pbkdf2 v1.0.0 // indirect
	github.com/xdg-go/scram v1.1.2 // indirect
	github.com/xdg-go/stringprep v1.0.4 // indirect
	github.com/xhit/go-str2duration/v2 v2.1.0 // indirect
	github.com/yuin/gopher-lua v1.1.1 // indirect
	go.opentelemetry.io/auto/sdk v1.2.1 // indirect
	go.opentelemetry.io/otel/exporters/otlp/otlptrace v1.47.0 // indirect
	go.opentelemetry.io/otel/log v1.47.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	go.yaml.in/yaml/v4 v4.0.0-rc.4 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/grpc v1.84.0 // indirect
	honnef.co/go/tools v0.8.2 // indirect
)

tool honnef.co/go/tools/cmd/staticcheck
