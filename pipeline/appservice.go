package pipeline

// Users of application services: bridges and bots, who have no phones.

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Homeserver is whose users the stages tell.
type Homeserver struct {
	Name        string      // what stands after the colon in their ids
	Appservices Appservices // the users of application services are told nothing
}

// Tells says whether a user is told of events.
func (h *Homeserver) Tells(userID string) bool {
	return IsLocal(userID, h.Name) && !h.Appservices.Match(userID)
}

// Appservices are the user namespaces of application services.
type Appservices []namespace

type namespace struct {
	begins string // literally, so that most users need no more than a look
	re     *regexp.Regexp
}

// CompileAppservices makes namespaces of the regular expressions that stand in registration files (Application Service API, "namespaces"): RE2, each anchored at the beginning of the user
// id alone, as Synapse takes them. Errors are joined; what can be used is returned all the same.
func CompileAppservices(patterns []string) (out Appservices, err error) {
	var errs []error
	for _, p := range patterns {
		re, err := compileNamespace(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, namespace{prefixOf(p), re})
	}
	return out, errors.Join(errs...)
}

// CheckAppservice says what is wrong with one of them.
func CheckAppservice(pattern string) error {
	_, err := compileNamespace(pattern)
	return err
}

func compileNamespace(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil { // alone: what is put around it must not repair it
		return nil, fmt.Errorf("%q is no regular expression (RE2): %w", pattern, err)
	}
	re, err := regexp.Compile("^(?:" + pattern + ")")
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression (RE2): %w", pattern, err)
	}
	if re.MatchString("") {
		return nil, fmt.Errorf("%q matches every user: nobody would be told of anything", pattern)
	}
	return re, nil
}

// prefixOf is what all matches of a pattern begin with.
func prefixOf(pattern string) string {
	re, err := regexp.Compile(strings.TrimPrefix(pattern, "^"))
	if err != nil {
		return ""
	}
	prefix, _ := re.LiteralPrefix()
	return prefix
}

// Match says whether a user belongs to one of the namespaces.
func (a Appservices) Match(userID string) bool {
	for i := range a {
		if strings.HasPrefix(userID, a[i].begins) && a[i].re.MatchString(userID) {
			return true
		}
	}
	return false
}
