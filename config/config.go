// Package config reads what an operator can set: one YAML file, and above it the environment.
//
//	homeserver:
//	  server_name: example.org    # or TOCSIN_HOMESERVER_SERVER_NAME=example.org
//	kafka:
//	  brokers: [kafka-1:9092, kafka-2:9092]
//	  sasl:
//	    username: tocsin
//	    password_file: /run/secrets/kafka
//
// Every key has a default, or is said to be missing; an empty file is a file of defaults. Every key is a variable too: its path in capitals
// after TOCSIN_, with underscores for dots. There, commas separate the elements of a list, and a mapping is written name=value,name=value.
// A secret can also be read from a file: the key with _file after it names it, from the working directory on. Nothing is expanded: ${HOME} is
// those seven letters.
//
// Some sections have names that the operator chooses, as the apps that are told directly. Each says by its key type of which kind it is, and has
// the keys of that kind:
//
//	apps:
//	  im.vector.app.ios.*: {type: apns, key_file: /etc/tocsin/AuthKey.p8, key_id: ABCDE12345, team_id: FGHIJ67890, topic: im.vector.app}
//	  org.example.desktop: {type: gateway}
//
// Their keys are no variables: one, TOCSIN_APPS, holds all that is below apps, in YAML or JSON, and replaces what the file says. In messages a name
// stands in brackets: apps[im.vector.app.ios.*].key_id.
//
// What can't be right is refused: unknown keys and variables, wrong types, values that no server could work with. [Load] reports
// everything at once, each fault with its key and its place in the file ([Faults]).
//
// The sections belong to the packages that obey them, each with its own Config, Defaults and Validate. This package puts them together,
// and reads any struct of that kind: a yaml tag is the name of the key, a doc tag its meaning, which [Table] and [AppsTable] write down for the
// README. Sections with names are a map whose type knows the kinds (Kinds, New).
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"tocsin/delivery"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/pushers/apps"
)

// Config is everything that can be set. Start from [Default] or [Load].
type Config struct {
	Homeserver Homeserver            `yaml:"homeserver"`
	Kafka      stream.Config         `yaml:"kafka"`
	Topics     pipeline.Topics       `yaml:"topics"`
	Redis      state.Config          `yaml:"redis"`
	Pipeline   pipeline.Config       `yaml:"pipeline"`
	Rules      pipeline.RulesConfig  `yaml:"rules"`
	Counts     pipeline.CountsConfig `yaml:"counts"`
	Badge      pipeline.BadgeConfig  `yaml:"badge"`
	Delivery   delivery.Config       `yaml:"delivery"`
	Apps       apps.Config           `yaml:"apps" doc:"how the pushers of some apps are told, by app id or by a pattern of app ids: see the table below. The variable holds the whole section as a mapping in YAML or JSON, in place of the file's"`
	Log        Log                   `yaml:"log"`
	Tracing    Tracing               `yaml:"tracing"`
	Admin      Admin                 `yaml:"admin"`
}

// Default is what an empty file says. It is not complete: Homeserver.ServerName has no default.
func Default() *Config {
	return &Config{
		Kafka:    stream.Defaults(),
		Topics:   pipeline.DefaultTopics(),
		Redis:    state.Defaults(),
		Pipeline: pipeline.Defaults(),
		Rules:    pipeline.DefaultRules(),
		Counts:   pipeline.DefaultCounts(),
		Badge:    pipeline.DefaultBadge(),
		Delivery: delivery.Defaults(),
		Log:      Log{Level: "info", Format: "text"},
		Tracing:  Tracing{Sample: 0.01},
		Admin:    Admin{Listen: "127.0.0.1:9100"},
	}
}

// Load reads a file, and the environment (as [os.Environ] gives it) above it. An empty name means no file: the environment alone.
// The error is [Faults], or says why the file can't be read.
func Load(file string, environ []string) (*Config, error) {
	var text []byte
	if file != "" {
		var err error
		if text, err = readFile(file); err != nil {
			return nil, fmt.Errorf("the configuration can't be read: %w", err)
		}
	}
	return read(file, text, environ)
}

// readFile reads no more than it takes to see that a file is too large.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Parse is [Load] for a YAML text.
func Parse(yaml []byte, environ []string) (*Config, error) {
	return read("", yaml, environ)
}

func read(file string, text []byte, environ []string) (*Config, error) {
	c := Default()
	if err := parseYAML(c, file, text, environ).err(); err != nil {
		return nil, err
	}
	return c, nil
}

func parseYAML(pointer any, file string, text []byte, environ []string) Faults {
	root, faults := fromYAML(text)
	for i := range faults {
		faults[i].Place.File = file
	}
	return append(faults, parse(pointer, file, root, environ)...).sorted()
}

// Merge sets what a JSON object says, with the keys and the strictness of the file, and leaves the rest as it is; the outcome must be
// right as a whole. The error is [Faults], without places; base is unchanged then.
func Merge(base *Config, json []byte) error {
	c := *base // lists and maps, also those of sections with names, are replaced, never changed
	root, faults := fromJSON(json)
	if err := append(faults, parse(&c, "", root, nil)...).err(); err != nil {
		return err
	}
	*base = c
	return nil
}

// Validate reports everything that can't be right, for a configuration that was put together or changed by hand. The error is [Faults].
func (c *Config) Validate() error {
	return parse(c, "", node{}, nil).err()
}

// Table writes the Markdown table of all keys, in the order of the file: key, default, environment, meaning.
func Table(w io.Writer) error {
	return writeTable(w, schemaOf(Default()))
}

// AppsTable writes the Markdown table of the keys that an app can have, by its type: type, key, default, meaning.
func AppsTable(w io.Writer) error {
	return writeKinds(w, reflect.ValueOf(apps.Config{}))
}

// Variables are the names of all variables of the environment that are keys, in the order of the file.
func Variables() []string {
	var names []string
	for _, k := range schemaOf(Default()).keys {
		names = append(names, variable(k.path))
	}
	return names
}

// IsFault says that an error is about what an operator wrote, and not about reading it.
func IsFault(err error) bool {
	var faults Faults
	return errors.As(err, &faults)
}
