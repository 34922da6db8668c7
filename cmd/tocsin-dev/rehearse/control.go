package rehearse

// The control address: commands and the state of things by HTTP.

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/test/stack"
)

// control is the HTTP server of the control address.
type control struct {
	listener net.Listener
	server   http.Server
}

// listenControl takes the address. Pages of other origins can't command: a browser on the same machine may show any.
func listenControl(address string, r *rehearsal) (*control, error) {
	listener, err := net.Listen("tcp", cmp.Or(address, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", r.command)
	mux.HandleFunc("GET /{$}", r.state)
	c := &control{listener: listener}
	c.server = http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	return c, nil
}

func (c *control) address() string { return "http://" + c.listener.Addr().String() }

// serve answers until close.
func (c *control) serve() error {
	if err := c.server.Serve(c.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// close ends all at once. A server that has not begun to serve has not got its listener yet.
func (c *control) close() error {
	err := c.server.Close()
	if closing := c.listener.Close(); !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	return err
}

// command does the commands in the body, a line each, up to the first that is wrong.
func (r *rehearsal) command(w http.ResponseWriter, req *http.Request) {
	scanner := bufio.NewScanner(http.MaxBytesReader(w, req.Body, maxCommand))
	scanner.Buffer(nil, maxCommand)
	var done []string
	for scanner.Scan() {
		if strings.TrimSpace(scanner.Text()) == "" {
			continue
		}
		told, err := r.do(scanner.Bytes())
		if err != nil {
			reply(w, http.StatusBadRequest, map[string]any{"done": len(done), "error": err.Error()})
			return
		}
		done = append(done, told)
		r.tell(told)
	}
	switch {
	case scanner.Err() != nil:
		reply(w, http.StatusBadRequest, map[string]any{"done": len(done), "error": scanner.Err().Error()})
	case done == nil:
		reply(w, http.StatusBadRequest, map[string]any{"done": 0, "error": "the body has no command"})
	default:
		reply(w, http.StatusOK, map[string]any{"done": len(done), "told": done[len(done)-1]})
	}
}

// standing is how one service stands.
type standing struct {
	URL     string       `json:"url"`
	Outage  stack.Outage `json:"outage"`
	Pushes  map[int]int  `json:"pushes"`            // by status as answered; 0: not answered
	Refusal string       `json:"refusal,omitempty"` // why the last push that was wrong in itself is
}

// state shows how things stand.
func (r *rehearsal) state(w http.ResponseWriter, _ *http.Request) {
	services, outages := map[string]standing{}, r.providers.Outages()
	for _, provider := range r.only {
		r.mu.Lock()
		t := r.tallies[provider]
		pushes, refusal := maps.Clone(t.pushes), t.refusal
		r.mu.Unlock()
		services[provider] = standing{r.providers.URL(provider), outages[provider], pushes, refusal}
	}
	reply(w, http.StatusOK, map[string]any{"providers": services, "answers": r.providers.Waiting()})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, body, json.Deterministic(true), jsontext.Multiline(true)) // whoever asked may have gone
}
