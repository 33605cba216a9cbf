package client

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
)

// FreshToken returns a configuration that reads its token's file for each request, where
// it has such a file. client-go keeps what it has read for most of a minute, during which
// a server that has stopped taking it refuses everything.
func FreshToken(cfg *rest.Config) (*rest.Config, error) {
	if cfg.BearerTokenFile == "" {
		return cfg, nil
	}
	t := &tokenFile{path: cfg.BearerTokenFile}
	if _, err := t.read(); err != nil {
		return nil, err
	}
	out := rest.CopyConfig(cfg)
	out.BearerToken, out.BearerTokenFile = "", ""
	out.Wrap(func(next http.RoundTripper) http.RoundTripper { return bearer{t, next} })
	return out, nil
}

// tokenFile is a token that others renew. While its file cannot be read, as in the midst
// of that, the last one counts.
type tokenFile struct {
	path string

	mu   sync.Mutex
	last string
}

func (t *tokenFile) read() (string, error) {
	data, err := os.ReadFile(t.path)
	token := strings.TrimSpace(string(data))
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case token != "":
		t.last = token
	case t.last != "":
	case err != nil:
		return "", fmt.Errorf("read the account's token: %w", err)
	default:
		return "", fmt.Errorf("the account's token %s is empty", t.path)
	}
	return t.last, nil
}

// bearer adds the token to requests.
type bearer struct {
	token *tokenFile
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := b.token.read()
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go find the connection beneath.
func (b bearer) WrappedRoundTripper() http.RoundTripper { return b.next }
