package config

// The section homeserver: whose users are told.

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"tocsin/pipeline"
)

// Homeserver is the server whose local users are told.
type Homeserver struct {
	ServerName      string   `yaml:"server_name" doc:"name of the homeserver: what stands after the colon in its users' ids. Required"`
	AppserviceUsers []string `yaml:"appservice_users" doc:"users of application services, who are told nothing and count nothing: the regular expressions of the (exclusive) namespaces.users in their registration files, each anchored at the beginning of the user id alone"`
}

// Validate reports a name that is missing or none, and expressions that can't be compiled.
func (h Homeserver) Validate() error {
	var errs []error
	if h.ServerName == "" {
		errs = append(errs, errors.New("server_name: is required: what stands after the colon in the users' ids, such as example.org"))
	} else if err := checkServerName(h.ServerName); err != nil {
		errs = append(errs, fmt.Errorf("server_name: %q is no server name: %w", h.ServerName, err))
	}
	for i, users := range h.AppserviceUsers {
		if err := pipeline.CheckAppservice(users); err != nil {
			errs = append(errs, fmt.Errorf("appservice_users[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// checkServerName follows https://spec.matrix.org/v1.18/appendices/#server-name: a DNS name, an IPv4 address or an IPv6 address in
// brackets, then perhaps a port.
func checkServerName(name string) error {
	switch {
	case strings.Contains(name, "://"):
		return errors.New("it is a URL; write the name alone, such as example.org")
	case strings.HasPrefix(name, "@"):
		return errors.New("it is a user id; write what stands after the colon")
	}
	host, port, hasPort := name, "", false
	if end := strings.LastIndexByte(name, ']'); end >= 0 { // a colon before the bracket is the address's own
		host = name[:end+1]
		switch rest := name[end+1:]; {
		case strings.HasPrefix(rest, ":"):
			port, hasPort = rest[1:], true
		case rest != "":
			return errors.New("only a port may follow the address")
		}
	} else {
		host, port, hasPort = strings.Cut(name, ":")
	}
	if hasPort && !isPort(port) {
		return errors.New("the port must be 1 to 65535")
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		a, err := netip.ParseAddr(host[1 : len(host)-1])
		if err != nil || !a.Is6() || a.Zone() != "" {
			return errors.New("the brackets must hold an IPv6 address")
		}
		return nil
	}
	if host == "" || len(host) > 255 {
		return errors.New("the host must have 1 to 255 characters")
	}
	for _, c := range host {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return errors.New("a host has letters, digits, hyphens and dots alone, or is an IPv6 address in brackets")
		}
	}
	return nil
}

// isPort takes 1 to 5 digits, as the grammar does, up to the highest port there is.
func isPort(s string) bool {
	if len(s) > 5 || strings.HasPrefix(s, "+") {
		return false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
