package fcm

// The service account that may send for an app: its key file.

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"golang.org/x/oauth2/jwt"
)

// scope is what a token is asked for.
const scope = "https://www.googleapis.com/auth/firebase.messaging"

// account is a service account as one version of its key file has it, with the access token that it was given.
type account struct {
	keys    jwt.Config
	project string
	name    string   // of the project at its host, by which quotas are told apart
	send    *url.URL // of messages:send
	tokens  tokens
	proven  atomic.Bool // FCM took a message of it
}

// keyFile is the key file of a service account, as Google makes it.
type keyFile struct {
	Type         string `json:"type"`
	ProjectID    string `json:"project_id"`
	PrivateKeyID string `json:"private_key_id"`
	PrivateKey   string `json:"private_key"`
	ClientEmail  string `json:"client_email"`
	TokenURI     string `json:"token_uri"`
}

// parseAccount reads a key file. No error repeats what is in it.
func parseAccount(raw []byte, cfg Config) (*account, error) {
	var file keyFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, errors.New("it is not the JSON key file of a service account")
	}
	if file.Type != "service_account" {
		return nil, errors.New(`it is not the key file of a service account, whose "type" is "service_account": google-services.json and the files of users are others`)
	}
	if !isRSA([]byte(file.PrivateKey)) {
		return nil, errors.New(`its "private_key" is not an RSA key in PEM`)
	}
	a := &account{project: cmp.Or(cfg.ProjectID, file.ProjectID)}
	tokenURL := cmp.Or(cfg.TokenURL, file.TokenURI, "https://oauth2.googleapis.com/token")
	switch {
	case file.ClientEmail == "":
		return nil, errors.New(`it has no "client_email"`)
	case !isProject(a.project):
		return nil, errors.New(`its "project_id" is missing or none: set project_id`)
	case !isHTTPS(tokenURL):
		return nil, errors.New(`its "token_uri" is not an https URL`)
	}
	a.keys = jwt.Config{Email: file.ClientEmail, PrivateKey: []byte(file.PrivateKey), PrivateKeyID: file.PrivateKeyID, Scopes: []string{scope}, TokenURL: tokenURL}
	if cfg.TokenURL != "" && isHTTPS(file.TokenURI) {
		a.keys.Audience = file.TokenURI // a relay hands on what is meant for Google
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base_url: %w", err)
	}
	base.Path = cmp.Or(base.Path, "/") // else the joined path would not begin with a slash
	a.send = base.JoinPath("v1", "projects", a.project, "messages:send")
	a.name = a.send.Host + " " + a.project
	return a, nil
}

func isRSA(raw []byte) bool {
	block, _ := pem.Decode(raw)
	if block == nil {
		return false
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		_, ok := key.(*rsa.PrivateKey)
		return ok
	}
	_, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	return err == nil
}

// keeper keeps the account as the key file has it.
type keeper struct {
	path    string
	parse   func(raw []byte) (*account, error)
	log     *slog.Logger
	current atomic.Pointer[account]
	seen    []byte // what current was made of
}

// read takes what the file has now, if that is another key that can be used. Requests that are under way end with the one that they began with.
func (k *keeper) read() error {
	if err := k.load(); err != nil {
		return fmt.Errorf("service_account_file: %w", err)
	}
	return nil
}

func (k *keeper) load() error {
	raw, err := os.ReadFile(k.path)
	if err != nil {
		return err
	}
	if k.seen != nil && bytes.Equal(raw, k.seen) {
		return nil
	}
	a, err := k.parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", k.path, err)
	}
	first := k.seen == nil
	k.current.Store(a)
	k.seen = raw
	if !first {
		k.log.Info("the key file of a service account has changed: the new key is in use", "file", k.path)
	}
	return nil
}
