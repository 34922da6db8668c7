package stack

// All push services at once, as one deployment's providers.

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ProvidersOptions say which services there are, and where.
type ProvidersOptions struct {
	Dir     string             // folder of the credentials, which exists. What is there of an earlier start is used again: authority, keys and ports
	Only    []string           // services that are started; nil: all
	Listen  string             // address to listen on, without a port; "": 127.0.0.1
	Host    string             // name or address that clients have for it; "": Listen
	Ports   map[string]int     // by service; absent or 0: that of an earlier start in Dir, or a free one
	Others  WebPushOthers      // what the Web Push service does with messages for endpoints of others
	Observe func(ProviderPush) // is told of each push when it is answered, or is not, one after another
	// Now is what the clients' own clock reads: VAPID tokens and Apple's 410s go by it. Provider tokens for Apple and access tokens of Google's do not: clients make them by
	// the machine's clock, and so they are checked. nil: [time.Now].
	Now func() time.Time
}

// Providers are fakes of push services, which take the pushes of the apps that [Providers.Add] adds, answer as [Providers.Script] says, and can be out of reach
// ([Providers.Outage]). They are safe for concurrent use.
//
// Whose app a push is for, they find out by the credentials that it came with: each app has its own. A device that [Providers.Register] has named is known by itself: so
// of an app that was added as a pattern, the app id of the device is shown.
type Providers struct {
	opts      ProvidersOptions
	authority *Authority
	gates     map[string]*gate
	running   []io.Closer
	apns      *APNs
	fcm       *FCM
	script    providerScript
	observer  observer[ProviderPush]
	answering atomic.Int64 // see [Providers.Answering]

	mu      sync.Mutex            // guards what follows
	added   map[credential]string // apps as they were added, by what they prove themselves with
	devices map[string]string     // app ids, by device token or endpoint
}

// credential is what an app proves itself with at a provider: the key id or the bundle id of its certificate at Apple, its project at Google, its public VAPID key.
type credential struct{ provider, text string }

// StartProviders starts the services.
func StartProviders(opts ProvidersOptions) (p *Providers, err error) {
	opts.Listen = cmp.Or(opts.Listen, "127.0.0.1")
	opts.Host = cmp.Or(opts.Host, opts.Listen)
	if opts.Only == nil {
		opts.Only = AllProviders()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return nil, err
	}
	p = &Providers{opts: opts, observer: observer[ProviderPush]{observe: opts.Observe}, gates: map[string]*gate{}, added: map[credential]string{}, devices: map[string]string{}}
	if p.authority, err = p.keepAuthority(); err != nil {
		return nil, err
	}
	if err := p.openGates(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	for _, provider := range opts.Only {
		service, err := p.start(provider)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.running = append(p.running, service)
	}
	return p, nil
}

// openGates listens for each service, and remembers the ports.
func (p *Providers) openGates() error {
	path := filepath.Join(p.opts.Dir, "ports.json")
	ports := map[string]int{}
	if raw, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(raw, &ports); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, provider := range p.opts.Only {
		port := cmp.Or(p.opts.Ports[provider], ports[provider])
		g, err := openGate(net.JoinHostPort(p.opts.Listen, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("%s: %w", provider, err)
		}
		p.gates[provider] = g
		ports[provider] = g.address.(*net.TCPAddr).Port
	}
	raw, err := json.Marshal(ports, json.Deterministic(true), jsontext.Multiline(true))
	if err != nil {
		return err
	}
	return replaceFile(path, append(raw, '\n'))
}

// start starts one service.
func (p *Providers) start(provider string) (io.Closer, error) {
	site := Site{Listener: p.gates[provider], Authority: p.authority, Names: []string{p.opts.Host, p.opts.Listen}}
	switch provider {
	case ProviderAPNs:
		return p.startAPNs(site)
	case ProviderFCM:
		return p.startFCM(site)
	case ProviderWebPush:
		return p.startWebPush(site)
	case ProviderGateway:
		return p.startGateway(site)
	}
	return nil, fmt.Errorf("%q is no provider: they are %s", provider, strings.Join(AllProviders(), ", "))
}

func (p *Providers) startAPNs(site Site) (_ io.Closer, err error) {
	from := func(push APNsPush) credential {
		return credential{ProviderAPNs, cmp.Or(push.KeyID, push.Certificate)}
	}
	p.apns, err = StartAPNs(APNsOptions{
		Site:    site,
		Observe: func(push APNsPush) { p.observe(ofAPNs(push), from(push), push.Token) },
		Answer: func(push APNsPush) APNsAnswer {
			answer := p.next(from(push), push.Token)
			return answer.apns(p.opts.Now())
		},
	})
	return p.apns, err
}

func (p *Providers) startFCM(site Site) (io.Closer, error) {
	key, err := p.keepRSA()
	if err != nil {
		return nil, err
	}
	p.fcm, err = StartFCM(FCMOptions{
		Site: site, URL: p.URL(ProviderFCM), Key: key,
		Observe: func(r FCMRequest) { p.observe(ofFCM(r), credential{ProviderFCM, r.Project}, r.Message.Token) },
		Answer: func(r FCMRequest) FCMAnswer {
			answer := p.next(credential{ProviderFCM, r.Project}, r.Message.Token)
			return answer.fcm()
		},
	})
	return p.fcm, err
}

func (p *Providers) startWebPush(site Site) (io.Closer, error) {
	return StartWebPush(WebPushOptions{
		Site: site, TLS: GoodTLS, Others: p.opts.Others, Now: p.opts.Now,
		Observe: func(m WebPushMessage) { p.observe(ofWebPush(m), credential{ProviderWebPush, m.Key}, m.Endpoint) },
		Answer: func(m WebPushMessage) WebPushAnswer {
			answer := p.next(credential{ProviderWebPush, m.Key}, m.Endpoint)
			return answer.webPush()
		},
	})
}

// startGateway starts the service that is told by each push whose it is.
func (p *Providers) startGateway(site Site) (io.Closer, error) {
	return StartGateway(GatewayOptions{
		Site: site, TLS: GoodTLS,
		Observe: func(r Request) { p.observer.tell(ofGateway(r)) },
		Answer: func(r Request) Answer {
			appID := ofGateway(r).AppID
			answer, _ := p.script.next(ProviderGateway, appID, appID)
			return answer.gateway()
		},
	})
}

// Close stops the services at once.
func (p *Providers) Close() error {
	var errs []error
	for _, service := range p.running {
		errs = append(errs, service.Close())
	}
	for _, g := range p.gates {
		if err := g.Close(); !errors.Is(err, net.ErrClosed) { // their owners have closed those that came so far
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// URL is where a service is, for a base_url; "" if it was not started.
func (p *Providers) URL(provider string) string {
	g := p.gates[provider]
	if g == nil {
		return ""
	}
	return "https://" + net.JoinHostPort(p.opts.Host, strconv.Itoa(g.address.(*net.TCPAddr).Port))
}

// Register names the app of a device: by its pushkey, or by its endpoint at a Web Push service if it has one.
func (p *Providers) Register(appID, pushkey, endpoint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if endpoint != "" {
		p.devices[endpoint] = appID
		return
	}
	p.devices[pushkey] = appID
	p.devices[strings.ToLower(pushkey)] = appID                                               // of Apple, in hexadecimal digits
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(pushkey, "=")) // clients write either alphabet
	if raw, err := base64.RawStdEncoding.DecodeString(plain); err == nil {
		p.devices[hex.EncodeToString(raw)] = appID
	}
}

// Script queues an answer behind those that are waiting already.
func (p *Providers) Script(a ProviderAnswer) error {
	if err := a.check(); err != nil {
		return err
	}
	p.script.add(a)
	return nil
}

// Clear forgets what [Providers.Script] has said of a provider and an app; "" is all of them. It says how many answers those were.
func (p *Providers) Clear(provider, appID string) int { return p.script.clear(provider, appID) }

// Waiting is how many answers of the script are not used up.
func (p *Providers) Waiting() int { return p.script.waiting() }

// Outage begins or ends an outage of a service; "" is all of them.
func (p *Providers) Outage(provider string, how Outage) error {
	if how != NoOutage && how != Refused && how != Silent {
		return fmt.Errorf("outage %q is none of %s, %s, %s", how, Refused, Silent, NoOutage)
	}
	if provider != "" && p.gates[provider] == nil {
		return fmt.Errorf("provider %q is none of those that run: %s", provider, strings.Join(p.opts.Only, ", "))
	}
	var errs []error
	for _, name := range p.opts.Only {
		if provider == "" || provider == name {
			if err := p.gates[name].set(how); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Outages tells how each service can be reached.
func (p *Providers) Outages() map[string]Outage {
	found := map[string]Outage{}
	for name, g := range p.gates {
		found[name] = g.outage()
	}
	return found
}

// Answering is how many pushes have got their answer from the script and are not shown yet. A client may see how its push ends before that: a fault is shown when it is over.
func (p *Providers) Answering() int { return int(p.answering.Load()) }

// observe shows a push.
func (p *Providers) observe(push ProviderPush, from credential, device string) {
	push.AppID, _ = p.app(from, device)
	p.observer.tell(push)
	if push.Fault == "" { // else the script was not asked
		p.answering.Add(-1)
	}
}

// next is the answer to a push; the zero answer, which takes it, if the script says nothing.
func (p *Providers) next(from credential, device string) ProviderAnswer {
	p.answering.Add(1)
	appID, added := p.app(from, device)
	answer, _ := p.script.next(from.provider, appID, added)
	return answer
}

// app is whose push it is: by the device's own app id, and as the app was added.
func (p *Providers) app(from credential, device string) (appID, added string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	added = p.added[from]
	return cmp.Or(p.devices[device], added), added
}

// has says that a service was started.
func (p *Providers) has(provider string) bool { return slices.Contains(p.opts.Only, provider) }
