package replay

// The push services of the apps that the settings list.

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pushers"
	"tocsin/test/stack"
)

// services are the push services that stand in for those of the apps. nil are none.
type services struct {
	providers *stack.Providers  // nil: no app is told directly
	dir       string            // of their credentials
	types     map[string]string // of the apps, by the names in section apps
	gateways  []string          // URLs of the apps' own
	settings  []byte            // with the apps led to these services
}

// openServices starts what the apps of the settings need.
func openServices(settings []byte, now func() time.Time, observe func(stack.ProviderPush)) (s *services, err error) {
	s = &services{types: map[string]string{}}
	changeApps(settings, func(app member, keys []member) []byte {
		s.types[app.name] = textOf(find(keys, "type"))
		return app.raw
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	used := slices.Collect(maps.Values(s.types))
	only := slices.DeleteFunc([]string{stack.ProviderAPNs, stack.ProviderFCM, stack.ProviderWebPush}, func(provider string) bool { return !slices.Contains(used, provider) })
	if len(only) > 0 {
		if s.dir, err = os.MkdirTemp("", "tocsin-replay-*"); err != nil {
			return s, err
		}
		if s.providers, err = stack.StartProviders(stack.ProvidersOptions{Dir: s.dir, Only: only, Now: now, Others: stack.ReadOthers, Observe: observe}); err != nil {
			return s, err
		}
	}
	s.settings = changeApps(settings, func(app member, keys []member) []byte {
		redirected, fault := s.redirect(app, keys)
		err = errors.Join(err, fault)
		return redirected
	})
	return s, err
}

// close stops them, and removes what they have written.
func (s *services) close() error {
	var errs []error
	if s.providers != nil {
		errs = append(errs, s.providers.Close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// redirect is an app that proves itself to the services here, and finds them. What is none stays as it is: the configuration says what is wrong with it.
func (s *services) redirect(app member, keys []member) ([]byte, error) {
	kind := s.types[app.name]
	drop := func(names ...string) {
		keys = slices.DeleteFunc(keys, func(m member) bool { return slices.Contains(names, m.name) })
	}
	switch kind {
	case stack.ProviderAPNs, stack.ProviderFCM, stack.ProviderWebPush:
	case stack.ProviderGateway:
		s.gateways = append(s.gateways, textOf(find(keys, "url")))
		drop("ca_file")
		return object(keys), nil
	default:
		return app.raw, nil
	}
	added, err := s.providers.Add(kind, app.name, "")
	if err != nil {
		return nil, err
	}
	drop(stack.ProviderKeys(kind)...)
	for _, own := range append(added.Settings, stack.Setting{Key: "topic", Value: added.Topic}) {
		if own.Value != "" && find(keys, own.Key) == nil {
			keys = append(keys, member{own.Key, quote(own.Value), quote(own.Key)})
		}
	}
	return object(keys), nil
}

// changeApps is the settings with each app of section apps as change says. What is not of that form stays as it is.
func changeApps(settings []byte, change func(app member, keys []member) []byte) []byte {
	return eachMember(settings, func(section member) []byte {
		if section.name != "apps" {
			return section.raw
		}
		return eachMember(section.raw, func(app member) []byte {
			keys, err := members(app.raw)
			if err != nil {
				return app.raw
			}
			return change(app, keys)
		})
	})
}

// eachMember is an object with each member as change says; what is no object stays as it is.
func eachMember(raw []byte, change func(m member) []byte) []byte {
	list, err := members(raw)
	if err != nil {
		return raw
	}
	for i := range list {
		list[i].raw = change(list[i])
	}
	return object(list)
}

func quote(text string) []byte {
	quoted, _ := jsontext.AppendQuote(nil, text) // the error tells of bytes that are not UTF-8, which paths and keys of ours have not
	return quoted
}

// script queues an answer.
func (s *services) script(a stack.ProviderAnswer) error { return s.providers.Script(a) }

// knows remembers whose app a pusher is of, because what is pushed there does not tell.
func (s *services) knows(p pusher) {
	if s.providers != nil && p.pushkey != "" {
		s.providers.Register(p.appID, p.pushkey, p.endpoint)
	}
}

// busy says that a push has ended, and is not written down yet; else it is "".
func (s *services) busy() string {
	if s == nil || s.providers == nil || s.providers.Answering() == 0 {
		return ""
	}
	return "a push service has not answered yet"
}

// check reports the first answer that no push could ever get.
func (s *services) check(in *input) error {
	for _, d := range in.direct {
		if err := s.checkAnswer(d.answer); err != nil {
			return &InputError{in.name, d.line, fmt.Errorf("provider: %w", err)}
		}
	}
	return nil
}

func (s *services) checkAnswer(a *stack.ProviderAnswer) error {
	if a.Provider == stack.ProviderGateway || a.Rejected != nil {
		return errors.New(`what push gateways answer is said by "gateway"`)
	}
	found := slices.Compact(slices.Sorted(maps.Values(s.types)))
	found = slices.DeleteFunc(found, func(kind string) bool { return kind == stack.ProviderGateway || a.Provider != "" && a.Provider != kind })
	if len(found) == 0 {
		return fmt.Errorf("section apps in the settings has no app of type %s", cmp.Or(a.Provider, "apns, fcm or webpush"))
	}
	if a.AppID != "" {
		kind, listed := s.types[s.listed(a.AppID)]
		switch {
		case !listed:
			return fmt.Errorf("app_id %q is no app of section apps in the settings", a.AppID)
		case kind == stack.ProviderGateway:
			return fmt.Errorf(`app_id %q is of type gateway in the settings: what push gateways answer is said by "gateway"`, a.AppID)
		case !slices.Contains(found, kind):
			return fmt.Errorf("app_id %q is of type %s in the settings, not %s", a.AppID, kind, a.Provider)
		}
		found = []string{kind}
	}
	if a.Fault != "" && !slices.ContainsFunc(found, func(kind string) bool { return slices.Contains(stack.ProviderFaults(kind), a.Fault) }) {
		return fmt.Errorf("fault %q is none that %s has: %s", a.Fault, found[0], strings.Join(stack.ProviderFaults(found[0]), ", "))
	}
	return nil
}

// listed is the name of the app that the settings have for an app id, or for a name of their own: of several patterns that match the longest. It is "" if there is none.
func (s *services) listed(appID string) (name string) {
	if _, itself := s.types[appID]; itself {
		return appID
	}
	for _, candidate := range slices.Sorted(maps.Keys(s.types)) {
		if p, err := pushers.CompileApps(candidate); err == nil && p.Match(appID) && len(candidate) > len(name) {
			name = candidate
		}
	}
	return name
}
