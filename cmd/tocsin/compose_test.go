package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"tocsin/config"
)

// loadCompose is docker-compose.yml as Docker would read it.
func loadCompose(t *testing.T, environ ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../../docker-compose.yml"}, cli.WithEnv(append([]string{"TOCSIN_HOMESERVER_SERVER_NAME=example.org"}, environ...)))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// environ is what a container of the service sees.
func environ(s types.ServiceConfig) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		all = append(all, name+"="+*s.Environment[name])
	}
	return all
}

func mustRead(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// find is the first group of the expression's first match.
func find(t *testing.T, text, expression string) string {
	t.Helper()
	m := regexp.MustCompile(expression).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("nothing matches %s", expression)
	}
	return m[1]
}

// The servers are those that the tests run against, and the compiler is the one that go.mod asks for.
func TestComposeImages(t *testing.T) {
	t.Parallel()
	services := loadCompose(t).Services
	kafka := find(t, mustRead(t, "../../test/servers/pom.xml"), `<kafka.version>([^<]+)<`)
	if got, want := services["kafka"].Image, "apache/kafka:"+kafka; got != want {
		t.Errorf("kafka is %s, the tests run %s", got, want)
	}
	if got := services["redis"].Image; !regexp.MustCompile(`^redis:7\.\d+-alpine$`).MatchString(got) {
		t.Errorf("redis is %s, the tests run Redis 7", got)
	}
	dockerfile := mustRead(t, "Dockerfile")
	goVersion := find(t, mustRead(t, "../../go.mod"), `(?m)^go (\d+\.\d+)`)
	if got := find(t, dockerfile, `(?m)^FROM golang:(\S+) AS`); got != goVersion {
		t.Errorf("the Dockerfile builds with Go %s, go.mod asks for %s", got, goVersion)
	}
	for _, name := range []string{"worker", "topics"} {
		build := services[name].Build
		if build == nil || build.Dockerfile != "cmd/tocsin/Dockerfile" {
			t.Errorf("%s is not built from this Dockerfile: %+v", name, build)
		}
	}
	for name, s := range services {
		if s.Build == nil && (!strings.Contains(s.Image, ":") || strings.HasSuffix(s.Image, ":latest")) {
			t.Errorf("%s is %s: another version every time", name, s.Image)
		}
	}
}

// What a container's environment says is a configuration, and one that reaches the other containers.
func TestComposeEnvironment(t *testing.T) {
	t.Parallel()
	services := loadCompose(t).Services
	for _, name := range []string{"worker", "topics"} {
		s := services[name]
		for variable := range s.Environment {
			if !slices.Contains(config.Variables(), variable) {
				t.Errorf("%s: %s is no key", name, variable)
			}
		}
		cfg, err := config.Parse(nil, environ(s))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if cfg.Homeserver.ServerName != "example.org" {
			t.Errorf("%s: the server's name is %q", name, cfg.Homeserver.ServerName)
		}
		inner := listeners(*services["kafka"].Environment["KAFKA_ADVERTISED_LISTENERS"])["PLAINTEXT"]
		if !slices.Equal(cfg.Kafka.Brokers, []string{inner}) {
			t.Errorf("%s: the broker is asked at %v and listens at %s", name, cfg.Kafka.Brokers, inner)
		}
		if !slices.Equal(cfg.Redis.Addresses, []string{"redis:6379"}) { // Redis's own default port
			t.Errorf("%s: Redis is asked at %v", name, cfg.Redis.Addresses)
		}
	}
}

// Apps are told directly as the variable says that Compose is given, with the files of a folder that is mounted where README's example has them.
func TestComposeApps(t *testing.T) {
	t.Parallel()
	app := find(t, mustRead(t, "../../docker-compose.yml"), `TOCSIN_APPS='(.+)' docker compose up`)
	for _, name := range []string{"worker", "topics"} {
		s := loadCompose(t, "TOCSIN_APPS="+app, "TOCSIN_KEYS=/srv/keys").Services[name]
		cfg, err := config.Parse(nil, environ(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, listed := cfg.Apps.Listed("org.example.android"); listed == nil {
			t.Errorf("%s: the apps are %v", name, cfg.Apps)
		}
		mounted := false
		for _, v := range s.Volumes {
			mounted = mounted || v.Source == "/srv/keys" && v.Target == "/etc/tocsin" && v.ReadOnly
		}
		if !mounted || !strings.Contains(app, "/etc/tocsin/") || !strings.Contains(mustRead(t, "../../README.md"), "/etc/tocsin/") {
			t.Errorf("%s: the keys are not where the apps have them: %+v", name, s.Volumes)
		}
	}
}

// listeners reads NAME://host:port,….
func listeners(s string) map[string]string {
	all := map[string]string{}
	for l := range strings.SplitSeq(s, ",") {
		name, address, _ := strings.Cut(l, "://")
		all[name] = address
	}
	return all
}

// Kafka alone is reached from outside, from this machine alone, where the configuration's default looks for it.
func TestComposePorts(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	for name, s := range project.Services {
		if name != "kafka" && len(s.Ports) > 0 {
			t.Errorf("%s is reached from outside: %v", name, s.Ports)
		}
	}
	kafka := project.Services["kafka"]
	if len(kafka.Ports) != 1 || kafka.Ports[0].HostIP != "127.0.0.1" {
		t.Fatalf("kafka's ports are %v", kafka.Ports)
	}
	published := net.JoinHostPort("localhost", kafka.Ports[0].Published)
	bound := listeners(*kafka.Environment["KAFKA_LISTENERS"])
	advertised := listeners(*kafka.Environment["KAFKA_ADVERTISED_LISTENERS"])
	if got := bound["HOST"]; got != fmt.Sprintf(":%d", kafka.Ports[0].Target) {
		t.Errorf("kafka listens at %s, and port %d is published", got, kafka.Ports[0].Target)
	}
	if got := advertised["HOST"]; got != published || !slices.Equal(config.Default().Kafka.Brokers, []string{published}) {
		t.Errorf("kafka advertises %s, is published at %s, and is looked for at %v", got, published, config.Default().Kafka.Brokers)
	}
	if !strings.HasSuffix(advertised["PLAINTEXT"], bound["PLAINTEXT"]) {
		t.Errorf("kafka listens at %s and advertises %s", bound["PLAINTEXT"], advertised["PLAINTEXT"])
	}
	if voters := *kafka.Environment["KAFKA_CONTROLLER_QUORUM_VOTERS"]; voters != "1@"+bound["CONTROLLER"] {
		t.Errorf("the controller listens at %s and is looked for at %s", bound["CONTROLLER"], voters)
	}
}

// Nobody starts before what they need is there, and it is known when someone is not well.
func TestComposeHealth(t *testing.T) {
	t.Parallel()
	project := loadCompose(t)
	services := project.Services
	for _, d := range []struct{ service, needs, condition string }{
		{"topics", "kafka", types.ServiceConditionHealthy},
		{"worker", "topics", types.ServiceConditionCompletedSuccessfully},
		{"worker", "redis", types.ServiceConditionHealthy},
	} {
		if got := services[d.service].DependsOn[d.needs].Condition; got != d.condition {
			t.Errorf("%s needs %s: %q, not %q", d.service, d.needs, got, d.condition)
		}
	}
	for _, name := range []string{"kafka", "redis", "worker"} {
		if h := services[name].HealthCheck; h == nil || len(h.Test) < 2 {
			t.Errorf("%s has no health check", name)
		}
	}
	check := []string(services["worker"].HealthCheck.Test)
	if want := []string{"CMD", "/tocsin", "health"}; !slices.Equal(check, want) {
		t.Errorf("the worker is asked by %v", check)
	}
	if !strings.Contains(mustRead(t, "Dockerfile"), `CMD ["/tocsin", "health"]`) {
		t.Error("the image's own health check is another one")
	}
	if got := strings.Join(services["kafka"].HealthCheck.Test, " "); !strings.HasSuffix(got, listeners(*services["kafka"].Environment["KAFKA_ADVERTISED_LISTENERS"])["HOST"]) {
		t.Errorf("kafka is asked by %s", got)
	}
	cfg, err := config.Parse(nil, environ(services["worker"]))
	if err != nil {
		t.Fatal(err)
	}
	if grace := time.Duration(*services["worker"].StopGracePeriod); grace < cfg.Kafka.DrainTimeout+patience {
		t.Errorf("the worker is killed after %v, and may drain for %v", grace, cfg.Kafka.DrainTimeout)
	}
	if cfg.Admin.Dial() == "" {
		t.Error("the worker answers no health check")
	}
	command := strings.Join(services["redis"].Command, " ")
	for _, setting := range []string{"--appendonly yes", "--maxmemory-policy noeviction"} {
		if !strings.Contains(command, setting) {
			t.Errorf("redis runs as %q, without %s", command, setting)
		}
	}
	for _, service := range []string{"kafka", "redis"} {
		if v := services[service].Volumes; len(v) != 1 || project.Volumes[v[0].Source].Name == "" {
			t.Errorf("%s keeps nothing: %v", service, v)
		}
	}
}

// The commands in the file are commands of this program.
func TestComposeCommands(t *testing.T) {
	t.Parallel()
	services := loadCompose(t).Services
	for _, name := range []string{"worker", "topics"} {
		args := append(slices.Clone([]string(services[name].Command)), "--help")
		if status, _, stderr := run(t, nil, args...); status != succeeded || stderr != "" {
			t.Errorf("%s runs %v: status %d, %s", name, args, status, stderr)
		}
	}
	if got := find(t, mustRead(t, "Dockerfile"), `(?m)^CMD \["(\w+)"\]$`); got != "worker" {
		t.Errorf("the image runs %s", got)
	}
}

// What runs is not root, and can neither write to its image nor become more than it is.
func TestComposeConfinement(t *testing.T) {
	t.Parallel()
	services := loadCompose(t).Services
	user := find(t, mustRead(t, "Dockerfile"), `(?m)^USER (\d+:\d+)$`)
	for _, name := range []string{"worker", "topics"} {
		s := services[name]
		if s.User != user || strings.HasPrefix(s.User, "0:") {
			t.Errorf("%s runs as %q, the image as %q", name, s.User, user)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Privileged {
			t.Errorf("%s: read-only %v, capabilities dropped %v, privileged %v", name, s.ReadOnly, s.CapDrop, s.Privileged)
		}
	}
	for name, s := range services {
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain privileges: %v", name, s.SecurityOpt)
		}
	}
	// The broker of the tests and this one agree on what the pipeline relies on.
	properties := mustRead(t, "../../test/servers/kafka.properties")
	for variable, key := range map[string]string{"KAFKA_AUTO_CREATE_TOPICS_ENABLE": "auto.create.topics.enable", "KAFKA_PROCESS_ROLES": "process.roles"} {
		want := find(t, properties, `(?m)^`+regexp.QuoteMeta(key)+`=(.*)$`)
		if got := *services["kafka"].Environment[variable]; got != want {
			t.Errorf("%s is %s, in the tests %s", variable, got, want)
		}
	}
}

// Without the homeserver's name nothing starts, and the message says what is missing.
func TestComposeNeedsServerName(t *testing.T) {
	t.Parallel()
	options, err := cli.NewProjectOptions([]string{"../../docker-compose.yml"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = options.LoadProject(t.Context())
	if err == nil || !strings.Contains(err.Error(), "TOCSIN_HOMESERVER_SERVER_NAME") || !strings.Contains(err.Error(), "is the name of your homeserver") {
		t.Errorf("got %v", err)
	}
}
