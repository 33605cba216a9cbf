package healthcheck

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

// freePort returns a port that nobody has at 127.0.0.1 or ::1.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// get returns the status, the weight and the body that a place answers with; 0 when
// nobody answers.
func get(t *testing.T, url string) (int, string, map[string]any) {
	t.Helper()
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil && r.StatusCode != http.StatusNotFound {
		t.Fatalf("%s: body %q: %v", url, text, err)
	}
	if kind := r.Header.Get("Content-Type"); r.StatusCode != http.StatusNotFound && kind != "application/json" {
		t.Errorf("%s: Content-Type is %q", url, kind)
	}
	return r.StatusCode, r.Header.Get("X-Load-Balancing-Endpoint-Weight"), body
}

func TestServicesAreAnsweredForWhileTheyAreWanted(t *testing.T) {
	tables, port := state.New(), freePort(t)
	tables.Nodes.Put(state.Node{Name: "n1", Local: true})
	tables.Services.Put(service("a", port, "10.96.0.1"))
	proxy := Proxy{Last: time.Now()}
	c := New(slog.New(slog.DiscardHandler), Options{IPv4: true, Proxy: func() Proxy { return proxy }}, tables)
	defer c.opener.close()
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	check := func(what string, status int, weight string, local int, healthy bool) {
		t.Helper()
		if err := c.Step(t.Context()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		gotStatus, gotWeight, body := get(t, url)
		want := map[string]any{"service": map[string]any{"namespace": "d", "name": "a"}, "localEndpoints": float64(local), "serviceProxyHealthy": healthy}
		if diff := cmp.Diff(want, body); diff != "" || gotStatus != status || gotWeight != weight {
			t.Errorf("%s: status %d, weight %s (-want +got):\n%s", what, gotStatus, gotWeight, diff)
		}
	}
	check("no endpoint", 503, "0", 0, true)
	tables.Slices.Put(slice("x", "a", "http", 6, ready("10.0.0.1", "n1"), ready("10.0.0.2", "n1"), ready("10.0.1.1", "n2")))
	check("two here", 200, "2", 2, true)
	proxy.Failing = time.Now().Add(-time.Second)
	check("services fail since a moment", 200, "2", 2, true)
	proxy.Failing = time.Now().Add(-2 * grace)
	check("services fail", 503, "2", 2, false)
	proxy = Proxy{}
	check("services were never written", 503, "2", 2, false)

	tables.Services.Delete(named("a"))
	if err := c.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, why, _ := get(t, url); status != 0 || !strings.Contains(why, "refused") {
		t.Errorf("without the service: status %d, %s", status, why)
	}
}

func TestAPortThatSomebodyHasIsNamedAndTriedAgain(t *testing.T) {
	tables, port, other := state.New(), freePort(t), freePort(t)
	tables.Services.Put(service("a", port, "10.96.0.1"), service("b", other, "10.96.0.2"))
	squatter, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	c := New(slog.New(slog.DiscardHandler), Options{IPv4: true, Proxy: func() Proxy { return Proxy{Last: time.Now()} }}, tables)
	defer c.opener.close()
	want := fmt.Sprintf("health checks at 0.0.0.0:%d/TCP", port)
	if err := c.Step(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "another healthCheckNodePort") {
		t.Errorf("got %v, want %q and a way out", err, want)
	}
	s := c.Status()
	if s.Open != 1 || len(s.Problems) != 1 || s.Problems[0].Service != named("a") || !strings.Contains(s.Problems[0].Text, want) {
		t.Errorf("status is %+v", s)
	}
	if status, _, _ := get(t, fmt.Sprintf("http://127.0.0.1:%d/", other)); status != 503 {
		t.Errorf("the other service's port: status %d", status)
	}
	squatter.Close()
	if err := c.Step(t.Context()); err != nil {
		t.Errorf("with the port free: %v", err)
	}
	if s := c.Status(); s.Open != 2 || len(s.Problems) != 0 {
		t.Errorf("status is %+v", s)
	}
}

func TestANodesHealthFollowsServicesAndWhetherItStays(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		what           string
		leaves         bool
		p              Proxy
		healthz, livez int
	}{
		{"all well", false, Proxy{Last: now}, 200, 200},
		{"it leaves", true, Proxy{Last: now}, 503, 200},
		{"services were never written", false, Proxy{}, 503, 200},
		{"they fail since a moment", false, Proxy{Last: now, Failing: now.Add(-grace / 2)}, 200, 200},
		{"they fail", false, Proxy{Last: now, Failing: now.Add(-grace)}, 503, 503},
		{"they have failed from the start", false, Proxy{Failing: now.Add(-grace)}, 503, 503},
	} {
		healthz, livez := httptest.NewRecorder(), httptest.NewRecorder()
		answerHealthz(healthz, c.leaves, c.p, now)
		answerLivez(livez, c.p, now)
		if healthz.Code != c.healthz || livez.Code != c.livez {
			t.Errorf("%s: /healthz %d, /livez %d, want %d and %d", c.what, healthz.Code, livez.Code, c.healthz, c.livez)
		}
		var body struct {
			LastUpdated, CurrentTime time.Time
			NodeEligible             *bool
		}
		if err := json.Unmarshal(healthz.Body.Bytes(), &body); err != nil || body.NodeEligible == nil || *body.NodeEligible == c.leaves || !body.CurrentTime.Equal(now) {
			t.Errorf("%s: /healthz says %s, %v", c.what, healthz.Body, err)
		}
		if want := map[bool]time.Time{true: now, false: c.p.Last}[c.healthz == 200]; !body.LastUpdated.Equal(want) {
			t.Errorf("%s: lastUpdated is %s, want %s", c.what, body.LastUpdated, want)
		}
		if strings.Contains(livez.Body.String(), "nodeEligible") {
			t.Errorf("%s: /livez speaks of the node: %s", c.what, livez.Body)
		}
	}
}

func TestTheNodeIsAnsweredForWhereItIsConfigured(t *testing.T) {
	tables, at := state.New(), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	tables.Nodes.Put(state.Node{Name: "n1", Local: true})
	c := New(slog.New(slog.DiscardHandler), Options{Healthz: at, IPv4: true, Proxy: func() Proxy { return Proxy{Last: time.Now()} }}, tables)
	defer c.opener.close()
	for _, leaves := range []string{"", "it is being deleted", ""} {
		tables.Nodes.Put(state.Node{Name: "n1", Local: true, Leaves: leaves}, state.Node{Name: "n2", Leaves: "it is being deleted"})
		if err := c.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{true: 200, false: 503}[leaves == ""]
		if status, _, body := get(t, "http://"+at+"/healthz"); status != want || body["nodeEligible"] != (leaves == "") {
			t.Errorf("node leaves: %q: %d %v", leaves, status, body)
		}
	}
	if status, _, _ := get(t, "http://"+at+"/metrics"); status != http.StatusNotFound {
		t.Errorf("another path: %d", status)
	}
	second := New(slog.New(slog.DiscardHandler), c.opts, tables)
	defer second.opener.close()
	if err := second.Step(t.Context()); err == nil || !strings.Contains(second.Status().Node, "kubeProxyReplacementHealthzBindAddr") {
		t.Errorf("an address that is taken: %v, status %+v", err, second.Status())
	}
}
