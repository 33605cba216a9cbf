package connect

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/test/fakeapi"
)

func server1(t *testing.T, tls bool) *fakeapi.Server {
	t.Helper()
	s := fakeapi.New()
	start := s.Start
	if tls {
		start = s.StartTLS
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// run makes a connection without anything of this machine but what o says.
func run(t *testing.T, o Options) *Conn {
	t.Helper()
	if o.Root == "" {
		o.Root = "/nowhere"
	}
	if o.Account == "" {
		o.Account = "/nowhere"
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	o.Probe = 300 * time.Millisecond
	c := New(slog.New(slog.DiscardHandler), o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

// uses waits until a server is in use.
func uses(t *testing.T, c *Conn, url, from string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		s := c.State()
		if s.OK && s.Server == url && (from == "" || s.From == from) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("state %+v, want %s from %q in use", s, url, from)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// account writes the files of a service account, and returns their folder.
func account(t *testing.T, token string, ca []byte) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), token)
	write(t, filepath.Join(dir, "ca.crt"), string(ca))
	return dir
}

func kubeconfig(url string, ca []byte, token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, url, base64.StdEncoding.EncodeToString(ca), token)
}

func TestServersAreFoundInTheirOrder(t *testing.T) {
	s := server1(t, true)
	s.RequireToken("mine")
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	in := func(key string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}[key]
	}
	o := Options{Account: account(t, "mine", s.CA()), Getenv: in}
	uses(t, run(t, o), s.URL(), "in-cluster variables")

	o.StateDir = t.TempDir()
	write(t, filepath.Join(o.StateDir, "servers.json"), fmt.Sprintf("[%q]", s.URL()))
	uses(t, run(t, o), s.URL(), "last known")

	for i := len(kubelets) - 1; i >= 0; i-- { // each is better than those after it
		if o.Root == "" {
			o.Root = t.TempDir()
		}
		write(t, filepath.Join(o.Root, kubelets[i]), kubeconfig(s.URL(), s.CA(), "the kubelet's own"))
		uses(t, run(t, o), s.URL(), kubelets[i])
	}
	o.Kubeconfig = filepath.Join(t.TempDir(), "config")
	write(t, o.Kubeconfig, kubeconfig(s.URL(), s.CA(), "mine"))
	uses(t, run(t, o), s.URL(), "source.kubernetes.kubeconfig")

	o.Servers = []string{s.URL()}
	uses(t, run(t, o), s.URL(), "k8sServiceHost")
}

func TestAServerOfIPv6AloneIsFound(t *testing.T) {
	s := fakeapi.New()
	if err := s.StartAt("[::1]:0"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	uses(t, run(t, Options{Servers: []string{"http://[::1]:" + port}}), "http://[::1]:"+port, "k8sServiceHost")
}

func TestAKubeletsCredentialsServeWhereThereAreNoOthers(t *testing.T) {
	s := server1(t, true)
	s.RequireToken("the kubelet's own")
	root := t.TempDir()
	write(t, filepath.Join(root, kubelets[0]), kubeconfig(s.URL(), s.CA(), "the kubelet's own"))
	uses(t, run(t, Options{Root: root}), s.URL(), kubelets[0])
}

// A kubeconfig may say what name the server's certificate has: another is not believed.
func TestTheNameThatAKubeconfigGivesTheServerCounts(t *testing.T) {
	s := server1(t, true)
	root := t.TempDir()
	text := strings.Replace(kubeconfig(s.URL(), s.CA(), ""), "server:", "tls-server-name: other.example, server:", 1)
	write(t, filepath.Join(root, kubelets[0]), text)
	c := run(t, Options{Root: root, Account: account(t, "mine", s.CA())})
	<-c.Searched()
	if st := c.State(); st.OK || st.Err == nil || !strings.Contains(st.Err.Error(), "other.example") {
		t.Errorf("state %+v, want an error that names the name", st)
	}
}

func TestAServerThatRefusesTheCredentialsIsSaidTo(t *testing.T) {
	s := server1(t, true)
	s.RequireToken("another's")
	c := run(t, Options{Servers: []string{s.URL()}, Account: account(t, "mine", s.CA())})
	<-c.Searched()
	if st := c.State(); st.OK || st.Err == nil || !strings.Contains(st.Err.Error(), "401") {
		t.Errorf("state %+v, want an error that says 401", st)
	}
}

// A cluster whose CA is replaced: until the account's file has the new one the old
// server's word is missed and said so, and then no restart is needed. So with the
// kubelet's kubeconfig.
func TestACertificateOfAnotherCAIsTakenOnceItIsKnown(t *testing.T) {
	for _, of := range []string{"account", "kubelet"} {
		t.Run(of, func(t *testing.T) {
			s := server1(t, true)
			o := Options{Servers: []string{s.URL()}}
			var know func()
			if of == "account" {
				o.Account = account(t, "mine", s.CA())
				know = func() { write(t, filepath.Join(o.Account, "ca.crt"), string(s.CA())) }
			} else {
				o.Servers, o.Root = nil, t.TempDir()
				know = func() { write(t, filepath.Join(o.Root, kubelets[0]), kubeconfig(s.URL(), s.CA(), "mine")) }
				know()
			}
			c := run(t, o)
			uses(t, c, s.URL(), "")
			s.Down()
			if err := s.RenewCertificate(); err != nil {
				t.Fatal(err)
			}
			if err := s.Up(); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(15 * time.Second)
			for st := c.State(); st.OK || st.Err == nil || !strings.Contains(st.Err.Error(), "certificate"); st = c.State() {
				if time.Now().After(deadline) {
					t.Fatalf("state %+v, want an error about the certificate", st)
				}
				time.Sleep(5 * time.Millisecond)
			}
			know()
			uses(t, c, s.URL(), "")
		})
	}
}

// front passes connections on to a server, as a second address of it.
type front struct {
	net.Listener
	to    string
	conns chan net.Conn
}

func newFront(t *testing.T, to string) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{Listener: l, to: to, conns: make(chan net.Conn, 1000)}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			f.conns <- in
			go func() { _, _ = io.Copy(out, in); out.Close() }() // until either end closes
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
	t.Cleanup(f.end)
	return f
}

func (f *front) url() string { return "http://" + f.Addr().String() }

// end closes the listener and every connection.
func (f *front) end() {
	f.Close()
	for {
		select {
		case c := <-f.conns:
			c.Close()
		default:
			return
		}
	}
}

func TestAnotherServerTakesOverWithinSeconds(t *testing.T) {
	s := server1(t, false)
	first := newFront(t, s.Addr())
	c := run(t, Options{Servers: []string{first.url(), s.URL()}})
	uses(t, c, first.url(), "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	get := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://cluster/api/v1/pods", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := c.RoundTrip(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	first.end()
	began := time.Now()
	for get() != nil {
		if ctx.Err() != nil {
			t.Fatalf("no answer within 10 s: %+v", c.State())
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("failover took %s, want 3 s at most", took)
	}
	uses(t, c, s.URL(), "")
}

func TestABlackHoleDelaysNobody(t *testing.T) {
	hole, closer, err := fakeapi.BlackHole()
	if err != nil {
		t.Fatal(err)
	}
	defer closer()
	s := server1(t, false)
	began := time.Now()
	c := run(t, Options{Servers: []string{"http://" + hole, s.URL()}})
	uses(t, c, s.URL(), "")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the second server was in use after %s, want 2 s at most", took)
	}
}

func TestOnlyABlackHoleIsSaidToBeOne(t *testing.T) {
	hole, closer, err := fakeapi.BlackHole()
	if err != nil {
		t.Fatal(err)
	}
	defer closer()
	c := run(t, Options{Servers: []string{"http://" + hole}})
	select {
	case <-c.Searched():
	case <-time.After(probeTimeout + 5*time.Second):
		t.Fatal("the search does not end")
	}
	if st := c.State(); st.OK || !strings.Contains(st.Err.Error(), hole) {
		t.Errorf("state %+v, want an error that names %s", st, hole)
	}
}

// shy is a server that hides its version until it is told not to, and breaks off what
// asks for /broken.
func shy(t *testing.T) (url string, asked *atomic.Int32, tells *atomic.Bool) {
	t.Helper()
	asked, tells = new(atomic.Int32), new(atomic.Bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			panic(http.ErrAbortHandler)
		case "/version":
			asked.Add(1)
			if !tells.Load() {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			io.WriteString(w, `{"major": "1", "minor": "34", "gitVersion": "v1.34.4"}`)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, asked, tells
}

// knowsTheVersion waits for it, and asks for other things meanwhile, so that the server
// is always heard.
func knowsTheVersion(t *testing.T, c *Conn, limit time.Duration) {
	t.Helper()
	for began := time.Now(); c.State().Version.GitVersion != "v1.34.4"; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("after %v the version is %q", limit, c.State().Version.GitVersion)
		}
		if err := get(c, "/x"); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that has just started hides its version until it has loaded its roles, and
// by then so much else may be heard of it that nobody would have to ask.
func TestAServerThatHidItsVersionIsAskedAgain(t *testing.T) {
	url, asked, tells := shy(t)
	c := run(t, Options{Servers: []string{url}})
	uses(t, c, url, "")
	tells.Store(true)
	knowsTheVersion(t, c, 15*time.Second)
	before := asked.Load()
	for range 100 {
		if err := get(c, "/x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := asked.Load(); got != before {
		t.Errorf("a server whose version is known, and which says something, was asked %d more times", got-before)
	}
}

// Requests that fail have it asked time and again: that is no reason to ask later.
func TestAServerThatHidItsVersionWhileRequestsFailedIsAskedSoon(t *testing.T) {
	url, asked, tells := shy(t)
	c := run(t, Options{Servers: []string{url}})
	uses(t, c, url, "")
	for deadline := time.Now().Add(15 * time.Second); asked.Load() < 12; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("requests failed, and the server was asked %d times", asked.Load())
		}
		if err := get(c, "/broken"); err == nil {
			t.Fatal("a request that was broken off has an answer")
		}
	}
	tells.Store(true)
	knowsTheVersion(t, c, 15*time.Second)
}

// get asks the server in use for something.
func get(c *Conn, path string) error {
	req, err := http.NewRequest(http.MethodGet, "http://server"+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func TestServersAreRemembered(t *testing.T) {
	s := server1(t, false)
	first := newFront(t, s.Addr())
	dir := t.TempDir()
	c := run(t, Options{Servers: []string{first.url()}, StateDir: dir})
	uses(t, c, first.url(), "k8sServiceHost")
	c.Remember([]string{s.URL()})
	first.end()
	uses(t, c, s.URL(), "last known")
}
