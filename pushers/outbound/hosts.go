package outbound

// Names of hosts, as operators list them.

import (
	"slices"
	"strings"

	"github.com/gobwas/glob"
)

// Hosts are hosts by name: names, or patterns in which * stands for one label or a part of it, ** for any number of them.
type Hosts []*glob.Pattern

// NewHosts reads such a list. What is no pattern matches nothing.
func NewHosts(patterns []string) Hosts {
	var hosts Hosts
	for _, pattern := range patterns {
		if compiled, err := glob.Compile(BareHost(pattern), '.'); err == nil {
			hosts = append(hosts, compiled)
		}
	}
	return hosts
}

// Match says that a host is in the list, however it is written.
func (h Hosts) Match(host string) bool {
	host = BareHost(host)
	return slices.ContainsFunc(h, func(listed *glob.Pattern) bool { return listed.Match(host) })
}

// BareHost is a host name as names are compared: in small letters, without the dot of the root.
func BareHost(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }
