package stack

// What apps prove themselves with at the fakes of [Providers]: credentials as files, and what a worker is to be told of them.

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// ProviderApp is an app of section `apps` of a worker's configuration, as it reaches the fakes.
type ProviderApp struct {
	Name        string // its app id, or a pattern of app ids
	Provider    string
	Topic       string    // of Apple: the bundle id of its certificate. A key is good for any topic
	Settings    []Setting // credentials and addresses that the worker needs
	Certificate []Setting // of Apple: what it can have in place of the keys of Settings that end in key_file, key_id and team_id
	Pushkey     string    // of a made-up device
	Endpoint    string    // of the device at the Web Push service
	Auth        string    // of that
}

// Setting is one key of an app in a worker's configuration.
type Setting struct{ Key, Value string }

// CertificatePassword is that of the .p12 files.
const CertificatePassword = "rehearsal"

// teamID is the team that all keys for Apple belong to.
const teamID = "REHEARSAL1"

// ProviderKeys are the keys of an app of a provider that say who the app is to it, and where it is: what must go from a configuration before the settings
// of [Providers.Add] come in.
func ProviderKeys(provider string) []string {
	switch provider {
	case ProviderAPNs:
		return []string{"key_file", "key_id", "team_id", "cert_file", "cert_key_file", "cert_password", "cert_password_file", "base_url", "ca_file"}
	case ProviderFCM:
		return []string{"service_account_file", "project_id", "base_url", "token_url", "ca_file"}
	case ProviderWebPush:
		return []string{"vapid_key_file", "base_url", "ca_file"}
	case ProviderGateway:
		return []string{"url", "ca_file"}
	}
	return nil
}

// Add makes the credentials of an app at a provider, or takes those that its folder has. topic is the bundle id of its certificate at Apple; "": one made of the name.
func (p *Providers) Add(provider, name, topic string) (*ProviderApp, error) {
	if !p.has(provider) {
		return nil, fmt.Errorf("app %s: provider %q does not run", name, provider)
	}
	app := &ProviderApp{Name: name, Provider: provider}
	var err error
	switch provider {
	case ProviderAPNs:
		err = p.addAPNs(app, cmp.Or(topic, bundleOf(name)))
	case ProviderFCM:
		err = p.addFCM(app)
	case ProviderWebPush:
		err = p.addWebPush(app)
	case ProviderGateway:
		app.Settings = []Setting{{"url", p.URL(provider) + "/_matrix/push/v1/notify"}}
		app.Pushkey = deviceOf(name)
	}
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", name, err)
	}
	app.Settings = append(app.Settings, Setting{"ca_file", p.path("ca.pem")})
	return app, nil
}

func (p *Providers) addAPNs(app *ProviderApp, topic string) error {
	if !bundleID.MatchString(topic) {
		return fmt.Errorf("%q is no bundle id", topic)
	}
	sum := sha256.Sum256([]byte(app.Name))
	keyID := base32.StdEncoding.EncodeToString(sum[:])[:10]
	keyFile, p8, err := p.keep(filepath.Join(slug(app.Name), "AuthKey_"+keyID+".p8"), newECKey)
	if err != nil {
		return err
	}
	if err := p.apns.AddKey(teamID, keyID, p8); err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	certFile, _, err := p.keep(filepath.Join(slug(app.Name), topic+".pem"), func() ([]byte, error) { return p.newCertificate(topic) })
	if err != nil {
		return err
	}
	p12, _, err := p.keep(filepath.Join(slug(app.Name), topic+".p12"), func() ([]byte, error) { return p.pkcs12(certFile) })
	if err != nil {
		return err
	}
	app.Settings = []Setting{{"key_file", keyFile}, {"key_id", keyID}, {"team_id", teamID}, {"base_url", p.URL(ProviderAPNs)}}
	app.Certificate = []Setting{{"cert_file", p12}, {"cert_password", CertificatePassword}}
	app.Topic, app.Pushkey = topic, base64.StdEncoding.EncodeToString(sum[:])
	p.know(app, keyID, topic)
	return nil
}

// newCertificate is a certificate for Apple, with its key, in PEM.
func (p *Providers) newCertificate(topic string) ([]byte, error) {
	certificate, key, err := p.apns.NewCertificate(topic, time.Now().AddDate(1, 0, 0))
	if err != nil {
		return nil, err
	}
	text, err := encodeKey(key)
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), text...), err
}

// pkcs12 is what a PEM file has as a .p12 file.
func (p *Providers) pkcs12(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pair, err := ParseAuthority(text) // a certificate and its key
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return pkcs12.Modern.Encode(pair.key, pair.certificate, nil, CertificatePassword)
}

func (p *Providers) addFCM(app *ProviderApp) error {
	project := slug(app.Name)
	file := p.path(filepath.Join(project, "service-account.json"))
	if err := replaceFile(file, p.fcm.ServiceAccountFor(project)); err != nil { // it names the port
		return err
	}
	app.Settings = []Setting{{"service_account_file", file}, {"base_url", p.URL(ProviderFCM)}, {"token_url", p.URL(ProviderFCM) + "/token"}}
	app.Pushkey = deviceOf(app.Name)
	p.know(app, project)
	return nil
}

func (p *Providers) addWebPush(app *ProviderApp) error {
	file, text, err := p.keep(filepath.Join(slug(app.Name), "vapid.pem"), newECKey)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("%s: it is not PEM", file)
	}
	key, err := parseECKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	base, err := url.Parse(p.URL(ProviderWebPush))
	if err != nil {
		return err
	}
	browser := SubscribeWebPush(base.Host, slug(app.Name))
	app.Settings = []Setting{{"vapid_key_file", file}, {"contact", "rehearsal@example.org"}, {"base_url", base.String()}}
	app.Pushkey, app.Endpoint, app.Auth = browser.P256dh, browser.Endpoint, browser.Auth
	p.know(app, base64.RawURLEncoding.EncodeToString(public))
	return nil
}

// know remembers what an app proves itself with. Of apps that share it the first is shown.
func (p *Providers) know(app *ProviderApp, texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range texts {
		if from := (credential{app.Provider, text}); p.added[from] == "" {
			p.added[from] = app.Name
		}
	}
}

// keepAuthority is the authority of the folder.
func (p *Providers) keepAuthority() (*Authority, error) {
	file, text, err := p.keep("ca.key", func() ([]byte, error) {
		a, err := NewAuthority()
		if err != nil {
			return nil, err
		}
		return a.Private()
	})
	if err != nil {
		return nil, err
	}
	a, err := ParseAuthority(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return a, replaceFile(p.path("ca.pem"), a.Certificate())
}

// keepRSA is the key of the service account.
func (p *Providers) keepRSA() (*rsa.PrivateKey, error) {
	file, text, err := p.keep("service-account.key", func() ([]byte, error) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		return encodeKey(key)
	})
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: it is not PEM", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if key, ok := parsed.(*rsa.PrivateKey); ok {
		return key, nil
	}
	return nil, fmt.Errorf("%s: it is no RSA key (%v)", file, err)
}

func newECKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return encodeKey(key)
}

func (p *Providers) path(name string) string { return filepath.Join(p.opts.Dir, name) }

// keep is what a file of the folder has, which is made if it is not there.
func (p *Providers) keep(name string, make func() ([]byte, error)) (path string, content []byte, err error) {
	path = p.path(name)
	content, err = os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return path, content, err
	}
	if content, err = make(); err != nil {
		return path, nil, err
	}
	return path, content, replaceFile(path, content)
}

// replaceFile writes a file that only its owner can read, whole or not at all, unless it is like that already: workers watch some of them.
func replaceFile(path string, content []byte) error {
	if found, err := os.ReadFile(path); err == nil && bytes.Equal(found, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

var (
	unfit    = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
	bundleID = regexp.MustCompile(`^[A-Za-z0-9.-]{1,155}$`)
)

// slug is a name that a file and a project can have: its own if it is fit already, else one with a hash.
func slug(name string) string {
	fit := strings.Trim(unfit.ReplaceAllString(name, "_"), ".")
	if fit == name && len(fit) <= 100 {
		return fit
	}
	sum := sha256.Sum256([]byte(name))
	return fit[:min(len(fit), 100)] + "-" + hex.EncodeToString(sum[:4])
}

// bundleOf is a bundle id for an app whose name is none.
func bundleOf(name string) string {
	if bundleID.MatchString(name) {
		return name
	}
	return "org.example.app"
}

// deviceOf is the token of a made-up device.
func deviceOf(name string) string {
	sum := sha256.Sum256([]byte("a device of " + name))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
