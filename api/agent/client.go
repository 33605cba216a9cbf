package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Client speaks to one agent.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the agent that listens on the unix socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Unreachable says that no agent answered at the socket.
type Unreachable struct {
	Socket string
	Err    error
}

func (e *Unreachable) Error() string {
	return fmt.Sprintf("no agent answers at %s: %v (is weir-agent running?)", e.Socket, e.Err)
}

func (e *Unreachable) Unwrap() error { return e.Err }

// Get reads path into reply.
func (c *Client) Get(ctx context.Context, path string, reply any) error {
	return c.do(ctx, http.MethodGet, path, nil, reply)
}

// Post sends request to path and reads the answer into reply, which may be nil.
func (c *Client) Post(ctx context.Context, path string, request, reply any) error {
	return c.do(ctx, http.MethodPost, path, request, reply)
}

func (c *Client) do(ctx context.Context, method, path string, request, reply any) error {
	var body io.Reader
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if reply == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(reply); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

// send returns an answer that is no refusal. The caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://weir"+path, body)
	if err != nil {
		return nil, fmt.Errorf("build request %s: %w", path, err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, &Unreachable{Socket: c.socket, Err: err}
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	return res, nil
}

// Stream reads one value after the other from path until ctx ends, the agent ends the
// answer (io.EOF), or see returns an error.
func Stream[T any](ctx context.Context, c *Client, path string, see func(T) error) error {
	res, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	d := json.NewDecoder(res.Body)
	for {
		var value T
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err := see(value); err != nil {
			return err
		}
	}
}

// refusal is what the agent has said instead of an answer.
func refusal(res *http.Response) error {
	refused := &Error{Code: CodeInternal}
	if err := json.NewDecoder(res.Body).Decode(refused); err != nil {
		refused.Message = "agent answered " + res.Status
	}
	return refused
}
