package config

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tocsin/credential"
)

var update = flag.Bool("update", false, "rewrite golden files")

// sample is a configuration with a key of every type.
type sample struct {
	Server sampleServer `yaml:"server"`
	Limits sampleLimits `yaml:"limits"`
	Shapes sampleShapes `yaml:"shapes" doc:"what is drawn"`
}

type sampleServer struct {
	Addresses []string          `yaml:"addresses" doc:"where it listens"`
	Name      string            `yaml:"name" doc:"what it is called"`
	Login     sampleLogin       `yaml:"login"`
	Labels    map[string]string `yaml:"labels" doc:"names | values"`
	Networks  []netip.Prefix    `yaml:"networks" doc:"who may come"`
	Hook      func()            `yaml:"-"`
}

type sampleLogin struct {
	User     string            `yaml:"user" doc:"who"`
	Password credential.Secret `yaml:"password" doc:"the proof"`
}

type sampleLimits struct {
	Timeout time.Duration `yaml:"timeout" doc:"how long it waits"`
	Count   int           `yaml:"count" doc:"how many"`
	Small   int32         `yaml:"small" doc:"how many at most"`
	Share   float64       `yaml:"share" doc:"which part"`
	On      bool          `yaml:"on" doc:"whether at all"`
	Mode    sampleMode    `yaml:"mode" doc:"fast or slow"`
}

type sampleMode string

// sampleShapes are sections with names.
type sampleShapes map[string]sampleShape

type sampleShape interface{ Validate() error }

type sampleCircle struct {
	Radius int               `yaml:"radius" doc:"how wide <half>"`
	Label  string            `yaml:"label" doc:"what it says"`
	Paint  samplePaint       `yaml:"paint"`
	Code   credential.Secret `yaml:"code" doc:"what opens it"`
}

type samplePaint struct {
	Color  string   `yaml:"color" doc:"red or blue"`
	Layers []string `yaml:"layers" doc:"what is below"`
}

type sampleSquare struct {
	Side  time.Duration `yaml:"side" doc:"how long"`
	Label string        `yaml:"label" doc:"what it says"`
}

func (sampleShapes) Kinds() []string { return []string{"circle", "square"} }

func (sampleShapes) New(kind string) sampleShape {
	switch kind {
	case "circle":
		return &sampleCircle{Radius: 5, Paint: samplePaint{Color: "red", Layers: []string{"a", "b"}}}
	case "square":
		return &sampleSquare{Side: time.Minute}
	}
	return nil
}

func (s sampleShapes) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if strings.HasPrefix(name, "bad") {
			errs = append(errs, fmt.Errorf("[%s]: is a bad name", name))
		}
	}
	if len(s) > 100 {
		errs = append(errs, errors.New("are too many"))
	}
	return errors.Join(errs...)
}

func (c *sampleCircle) Validate() error {
	if c.Radius < 1 {
		return fmt.Errorf("radius: %d is below 1", c.Radius)
	}
	if !c.Code.IsZero() && c.Label == "" {
		return errors.New("code: is set without label")
	}
	return nil
}

func (p samplePaint) Validate() error {
	var errs []error
	if p.Color != "red" && p.Color != "blue" {
		errs = append(errs, fmt.Errorf("color: %q is neither red nor blue", p.Color))
	}
	for i, layer := range p.Layers {
		if layer == "" {
			errs = append(errs, fmt.Errorf("layers[%d]: is empty", i))
		}
	}
	return errors.Join(errs...)
}

func (s sampleSquare) Validate() error {
	if s.Side > time.Hour && s.Label == "" {
		return errors.New("so large a square needs a label")
	}
	return nil
}

func (s sampleServer) Validate() error {
	var errs []error
	for i, a := range s.Addresses {
		if !strings.Contains(a, ":") {
			errs = append(errs, fmt.Errorf("addresses[%d]: has no port", i))
		}
	}
	if s.Name == "" {
		errs = append(errs, errors.New("name: is required"))
	}
	if s.Name == "bad" {
		errs = append(errs, errors.New("name: is bad"))
	}
	if err := s.Login.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("login.%w", err))
	}
	return errors.Join(errs...)
}

func (l sampleLogin) Validate() error {
	if (l.User == "") != l.Password.IsZero() {
		return errors.New("password: goes together with user")
	}
	return nil
}

func (l sampleLimits) Validate() error {
	if l.Timeout < 0 || l.Count < 0 {
		return errors.New("nothing here is below zero")
	}
	return nil
}

func sampleDefaults() *sample {
	return &sample{
		Server: sampleServer{Addresses: []string{"localhost:1"}, Name: "default", Labels: map[string]string{"a": "b"}},
		Limits: sampleLimits{Timeout: 90 * time.Minute, Count: 3, Small: 7, Share: 0.5, Mode: "fast"},
	}
}

// readSample is Parse for a sample: nil if the text is right.
func readSample(t *testing.T, file, text string, environ ...string) (*sample, Faults) {
	t.Helper()
	c := sampleDefaults()
	return c, parseYAML(c, file, []byte(text), environ)
}

func TestValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	writeFile(t, secret, "from the file \n")
	want := func(change func(*sample)) *sample {
		c := sampleDefaults()
		change(c)
		return c
	}
	for _, tc := range []struct {
		name, file string
		environ    []string
		want       func(*sample)
	}{
		{"empty", "", nil, func(*sample) {}},
		{"comments alone", "# nothing\n\n# here\n", nil, func(*sample) {}},
		{"empty document", "---\n...\n", nil, func(*sample) {}},
		{"a section of comments", "server:\n  # name: x\nlimits:\n", nil, func(*sample) {}},
		{"byte order mark", "\ufeffserver:\n  name: x\n", nil, func(c *sample) { c.Server.Name = "x" }},
		{"Windows line ends", "server:\r\n  name: x\r\nlimits:\r\n  count: 4\r\n", nil, func(c *sample) { c.Server.Name, c.Limits.Count = "x", 4 }},
		{"every type", `
server:
  addresses: [a:1, "b:2"]
  name: "0123"
  login: {user: u, password: 'p w'}
  labels: {x: "1", y: z}
  networks:
  - 10.0.0.0/8
  - ::1/128
limits:
  timeout: 1m30s
  count: 5
  small: 2147483647
  share: 0.001
  on: true
  mode: slow
`[1:], []string{"TOCSIN_LIMITS_COUNT=12"}, func(c *sample) {
			c.Server = sampleServer{
				Addresses: []string{"a:1", "b:2"}, Name: "0123", Labels: map[string]string{"x": "1", "y": "z"},
				Login:    sampleLogin{"u", credential.NewSecret("p w")},
				Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			}
			c.Limits = sampleLimits{90 * time.Second, 12, 2147483647, 0.001, true, "slow"}
		}},
		{"every type, in the environment", "", []string{
			"TOCSIN_SERVER_ADDRESSES=a:1, b:2", "TOCSIN_SERVER_NAME=0123", "TOCSIN_SERVER_LOGIN_USER=u", "TOCSIN_SERVER_LOGIN_PASSWORD=p=w,x ",
			"TOCSIN_SERVER_LABELS=x=1, y=z=z", "TOCSIN_SERVER_NETWORKS=10.0.0.0/8", "TOCSIN_LIMITS_TIMEOUT=0", "TOCSIN_LIMITS_COUNT=5",
			"TOCSIN_LIMITS_SMALL=1", "TOCSIN_LIMITS_SHARE=2", "TOCSIN_LIMITS_ON=true", "TOCSIN_LIMITS_MODE=slow", "PATH=/bin", "TOCSIN",
		}, func(c *sample) {
			c.Server = sampleServer{
				Addresses: []string{"a:1", "b:2"}, Name: "0123", Labels: map[string]string{"x": "1", "y": "z=z"},
				Login: sampleLogin{"u", credential.NewSecret("p=w,x ")}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			}
			c.Limits = sampleLimits{0, 5, 1, 2, true, "slow"}
		}},
		{"the environment wins", "server: {name: file}\nlimits: {count: 1}", []string{"TOCSIN_SERVER_NAME=env"}, func(c *sample) {
			c.Server.Name, c.Limits.Count = "env", 1
		}},
		{"of two variables the last", "", []string{"TOCSIN_SERVER_NAME=a", "TOCSIN_SERVER_NAME=b"}, func(c *sample) { c.Server.Name = "b" }},
		{"empty lists replace the default", "server: {labels: {}, addresses: []}", nil, func(c *sample) {
			c.Server.Labels, c.Server.Addresses = map[string]string{}, []string{}
		}},
		{"an empty variable is an empty text or list", "", []string{"TOCSIN_SERVER_ADDRESSES=", "TOCSIN_LIMITS_MODE="}, func(c *sample) {
			c.Server.Addresses, c.Limits.Mode = []string{}, ""
		}},
		{"nothing is expanded", "server: {name: '${HOME} $HOME %d'}", []string{"TOCSIN_LIMITS_MODE=${HOME}"}, func(c *sample) {
			c.Server.Name, c.Limits.Mode = "${HOME} $HOME %d", "${HOME}"
		}},
		{"texts of YAML", "server:\n  name: |-\n    two\n    lines\nlimits:\n  mode: >\n    fol\n    ded\n", nil, func(c *sample) {
			c.Server.Name, c.Limits.Mode = "two\nlines", "fol ded\n"
		}},
		{"explicit keys", "? server\n: ? name\n  : x\n", nil, func(c *sample) { c.Server.Name = "x" }},
		{"a secret's file in the file", "server: {login: {user: u, password_file: " + secret + "}}", nil, func(c *sample) {
			c.Server.Login = sampleLogin{"u", credential.NewSecret("from the file ")}
		}},
		{"a secret's file in the environment", "server: {login: {user: u, password: x}}", []string{"TOCSIN_SERVER_LOGIN_PASSWORD_FILE=" + secret}, func(c *sample) {
			c.Server.Login = sampleLogin{"u", credential.NewSecret("from the file ")}
		}},
		{"a secret in the environment above its file in the file", "server: {login: {user: u, password_file: /nowhere}}", []string{"TOCSIN_SERVER_LOGIN_PASSWORD=x"}, func(c *sample) {
			c.Server.Login = sampleLogin{"u", credential.NewSecret("x")}
		}},
		{"sections with names", `
shapes:
  # a comment
  im.*.[a-z]: {type: circle, radius: 7, paint: {color: blue}, code: x, label: y}
  "a].b": {label: y, type: square}
  ? it
  : type: circle
    label: z
    code_file: ` + secret + `
  "5": {type: square, side: 0}
`, []string{"TOCSIN_LIMITS_COUNT=5"}, func(c *sample) {
			layers := []string{"a", "b"}
			c.Limits.Count = 5
			c.Shapes = sampleShapes{
				"im.*.[a-z]": &sampleCircle{Radius: 7, Label: "y", Paint: samplePaint{"blue", layers}, Code: credential.NewSecret("x")},
				"a].b":       &sampleSquare{Side: time.Minute, Label: "y"},
				"it":         &sampleCircle{Radius: 5, Label: "z", Paint: samplePaint{"red", layers}, Code: credential.NewSecret("from the file ")},
				"5":          &sampleSquare{},
			}
		}},
		{"sections with names in the environment, in place of the file's", "shapes: {a: {type: circle, code_file: /nowhere}}", []string{
			"TOCSIN_SHAPES=a: {type: square}\nb:\n  type: square\n  label: x=1,2\n",
		}, func(c *sample) {
			c.Shapes = sampleShapes{"a": &sampleSquare{Side: time.Minute}, "b": &sampleSquare{Side: time.Minute, Label: "x=1,2"}}
		}},
		{"sections with names in the environment, in JSON", "", []string{
			`TOCSIN_SHAPES={"a.b":{"type":"square","label":"\ud83d\ude00\/\"\u00e9","side":"5s"},"*":{"type":"circle","paint":{"layers":["x"]}}}`,
		}, func(c *sample) {
			c.Shapes = sampleShapes{"a.b": &sampleSquare{Side: 5 * time.Second, Label: "😀/\"é"}, "*": &sampleCircle{Radius: 5, Paint: samplePaint{"red", []string{"x"}}}}
		}},
		{"no sections with names, in the environment", "shapes: {a: {type: circle}}", []string{"TOCSIN_SHAPES="}, func(c *sample) { c.Shapes = sampleShapes{} }},
		{"an empty mapping of sections", "shapes: {}", nil, func(c *sample) { c.Shapes = sampleShapes{} }},
		{"a mapping of sections that are comments", "shapes:\n#  a: {type: circle}\n", nil, func(*sample) {}},
		{"variables that are no keys", "", []string{
			"TOCSIN_CONFIG=x", "TOCSIN_WORKLOAD=big", "TOCSIN_TEST_KAFKA=localhost:1", "TOCSINX=1",
			// A Kubernetes service called tocsin, and one called tocsin-admin.
			"TOCSIN_SERVICE_HOST=10.0.0.1", "TOCSIN_SERVICE_PORT=9100", "TOCSIN_SERVICE_PORT_HTTP=9100", "TOCSIN_PORT=tcp://10.0.0.1:9100",
			"TOCSIN_PORT_9100_TCP=tcp://10.0.0.1:9100", "TOCSIN_PORT_9100_TCP_PROTO=tcp", "TOCSIN_PORT_9100_TCP_ADDR=10.0.0.1",
			"TOCSIN_ADMIN_SERVICE_HOST=10.0.0.1", "TOCSIN_ADMIN_PORT=tcp://10.0.0.1:9100",
		}, func(*sample) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, faults := readSample(t, "tocsin.yaml", tc.file, tc.environ...)
			if faults != nil {
				t.Fatal(faults)
			}
			if diff := cmp.Diff(want(tc.want), got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.IgnoreFields(sampleServer{}, "Hook")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
