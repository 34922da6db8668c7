package config

// The environment: every key as a variable.

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// prefix begins the name of every variable that is ours.
const prefix = "TOCSIN_"

// variable is the name of a key's variable: kafka.sasl.username is TOCSIN_KAFKA_SASL_USERNAME.
func variable(path string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// notKeys are variables with our prefix that are no keys: the file's name (for the command line), and what tests read.
var notKeys = regexp.MustCompile(`^TOCSIN_(CONFIG|WORKLOAD|TEST_.*)$`)

// serviceLinks are variables, with their values, that Kubernetes sets in every pod of a namespace that has a service called tocsin or
// tocsin-something: TOCSIN_SERVICE_HOST, TOCSIN_PORT_9100_TCP_ADDR. Nobody wrote them for us.
// https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
var serviceLinks = regexp.MustCompile(`^TOCSIN_([A-Z0-9_]+_)?` +
	`(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]|PORT=(tcp|udp|sctp)://|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)`)

// environment sets the keys whose variables are there. An empty variable is an empty text or list, and a fault for what can't be empty.
func (l *loader) environment(environ []string) {
	vars := map[string]string{} // of two with one name the last counts, as everywhere
	for _, assignment := range environ {
		if name, value, ok := strings.Cut(assignment, "="); ok && strings.HasPrefix(name, prefix) {
			vars[name] = value
		}
	}
	byVariable := map[string]*key{}
	for _, k := range l.keys {
		byVariable[variable(k.path)] = k
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		at := Place{Variable: name}
		switch k := byVariable[name]; {
		case k != nil:
			l.set(k, node{kind: untyped, scalar: vars[name]}, at)
		case notKeys.MatchString(name), serviceLinks.MatchString(name + "=" + vars[name]):
		default:
			l.report(at, "", l.unknownVariable(name))
		}
	}
}

func (l *loader) unknownVariable(name string) string {
	const unknown = "is not a variable of tocsin"
	for _, k := range l.keys {
		if whole := variable(k.path); k.named && strings.HasPrefix(name, whole+"_") {
			return fmt.Sprintf("%s: %s holds the whole section, as a mapping in YAML or JSON", unknown, whole)
		}
	}
	return didYouMean(unknown, l.suggestVariable(name))
}
