package metrics

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"weir/bpf"
	"weir/internal/goldentest"
	"weir/state"
)

func tables() *state.Tables {
	t := state.New()
	t.Nodes.Put(state.Node{Name: "n1", Local: true}, state.Node{Name: "n2"}, state.Node{Name: "n3"})
	t.Endpoints.Put(state.Endpoint{ID: 1, State: state.EndpointReady}, state.Endpoint{ID: 2, State: state.EndpointReady},
		state.Endpoint{ID: 3, State: state.EndpointNotReady}, state.Endpoint{ID: 4, State: state.EndpointReady})
	t.EndpointPolicies.Put(state.EndpointPolicy{Endpoint: 1, Ingress: true}, state.EndpointPolicy{Endpoint: 2, Ingress: true, Egress: true})
	t.Identities.Put(state.Identity{ID: 2, Labels: state.Labels{"reserved:world"}}, state.Identity{ID: 300, Labels: state.Labels{"k8s:app=a", "k8s:b=c"}},
		state.Identity{ID: state.IdentityLocal + 1, Labels: state.Labels{"k8s:app=b"}})
	t.Controls.Put(state.ControllerState{Name: "host", Runs: 10, Failures: 3, Consecutive: 1}, state.ControllerState{Name: "policy", Runs: 7})
	t.Problems.Put(state.Problem{Key: state.ProblemKey{Object: "Pod default/bad"}})
	t.Peers.Put(state.Peer{Node: "n1", NodeOK: true, NodeRTT: 200 * time.Microsecond, EndpointIP: "10.0.0.2", EndpointOK: true, EndpointRTT: 3 * time.Millisecond},
		state.Peer{Node: "n2", EndpointIP: "10.0.1.2", NodeOK: true, NodeRTT: 40 * time.Millisecond, NodePing: state.Ping{OK: true, RTT: time.Millisecond}}, state.Peer{Node: "n3"})
	return t
}

// node has something of everything, so that no family is without a sample.
func node() Node {
	return Node{Version: "1.2.3", Commit: "abcdef01", Tables: tables(),
		Packets: func() ([]Packets, error) {
			return []Packets{{bpf.PlaceFromPod, bpf.ReasonToEndpoint, 100, 9800}, {bpf.PlaceFromPod, bpf.ReasonToOverlay, 5, 500},
				{bpf.PlaceToNetdev, bpf.ReasonPassed, 5, 700}, {bpf.PlaceFromOverlay, bpf.ReasonToEndpoint, 7, 700},
				{bpf.PlaceFromPod, bpf.DropPolicy, 4, 400}, {bpf.PlaceFromHost, bpf.DropPolicy, 2, 200}, {bpf.PlaceFromOverlay, bpf.DropPolicy, 1, 98},
				{bpf.PlaceNone, bpf.ReasonReset, 3, 180}, {bpf.PlaceNone, bpf.ReasonTooBig, 1, 1500}, {bpf.PlaceNone, bpf.ReasonTraceLost, 20, 2000}, {bpf.PlaceNone, bpf.ReasonDNSLost, 6, 0}, {bpf.PlaceNone, bpf.ReasonEventLost, 9, 900}}, nil
		},
		Maps: func() ([]Map, error) {
			return []Map{{Name: "weir_ipcache", Entries: 128, Capacity: 512, Limit: 512, Bytes: 4096, Updates: 130, Deletes: 2, Failed: 1},
				{Name: "weir_ct", Entries: 100, Capacity: 200, Limit: 400, Bytes: 1 << 20}, {Name: "weir_metrics", Entries: -1, Capacity: 4096, Limit: 4096, Bytes: 65536}}, nil
		},
		Programs: func() ([]Program, error) {
			return []Program{{Name: "from_pod", Verified: 26785, Bytes: 70000, Measured: true, Runs: 1000, Time: 150 * time.Microsecond}, {Name: "to_pod", Verified: 12000, Bytes: 20000}}, nil
		},
		Attached: func() []Attached { return []Attached{{"from_pod", 3, 1}} },
		Searches: func() ([]PortSearch, error) { return []PortSearch{{"0", 50}, {"none free", 2}}, nil },
		Connections: func() Connections {
			return Connections{Entries: 100, Capacity: 200, Limit: 400, Sweeps: 12, Failed: 1, Deleted: 33, Took: 24 * time.Millisecond}
		},
		Pools: func() []Pool {
			return []Pool{{"ipv4", netip.MustParsePrefix("10.0.0.0/24").String(), 6, 254}, {"ipv4", "10.0.7.0/24", 1, 254}, {"ipv6", "fd00::/120", 6, 254}}
		},
		Policies: func() map[string]int { return map[string]int{"in force": 3, "refused": 1} },
		Services: func() Services { return Services{2, 5, 4, 1} },
		Heard: func() []Heard {
			return []Heard{{"Pod", "create", true, false, 5}, {"Pod", "update", true, true, 8}, {"CiliumNetworkPolicy", "create", false, false, 2},
				{"NetworkPolicy", "create", true, false, 3}, {"CiliumNetworkPolicy", "update", true, false, 1}, {"Service", "create", true, false, 4}, {"Service", "delete", true, false, 1},
				{"Node", "update", true, false, 6}, {"CiliumNode", "create", true, false, 3}}
		},
	}
}

// countedFlows has something of everything, in the order of its labels.
func countedFlows(put func(what string, n uint64, labels ...string)) {
	put("drop", 3, "POLICY_DENIED", "TCP")
	put("flow", 12, "TCP", "Trace", "to-endpoint", "FORWARDED")
	put("flow", 3, "TCP", "Drop", "", "DROPPED")
	put("tcp", 7, "SYN", "IPv4")
	put("icmp", 2, "EchoRequest", "IPv6")
	put("port-distribution", 5, "TCP", "80")
	put("port-distribution", 2, "TCP", "other")
	put("dns", 4, "No Error", "A", "2")
	put("dns-queries", 4, "", "A", "0")
	put("dns-response-types", 4, "CNAME", "A")
	put("lost", 1, "perf_event_ring_buffer")
	put("lost", 0, "hubble_ring_buffer")
}

// full is a registry in which every family has a sample.
func full(t *testing.T) Registry {
	t.Helper()
	r, rec := New("cilium"), NewRecorder("cilium")
	rec.Run("host", time.Millisecond, nil)
	rec.Run("policy", time.Second, errors.New("no"))
	rec.Call("GET", "cluster", "200")
	rec.CallTook("GET", "/api/v1/nodes", time.Millisecond)
	log := slog.New(rec.Log(slog.NewTextHandler(io.Discard, nil))).With("room", "host")
	log.Warn("one")
	log.Error("two")
	log.Info("not counted")
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/cni/add", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusConflict) })
	rec.Requests(mux, "/v1/cni/").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/cni/add", nil))
	r.MustRegister(rec, node().Collector(slog.New(slog.DiscardHandler)), FlowCollector(countedFlows))
	return r
}

// TestEveryFamilyIsToldAsItWasRead compares all of it, times apart.
func TestEveryFamilyIsToldAsItWasRead(t *testing.T) {
	text, err := full(t).Text()
	if err != nil {
		t.Fatal(err)
	}
	got := steady(text)
	goldentest.Compare(t, "node.txt", got)
	for _, f := range slices.AppendSeq(slices.Clone(nodeFamilies), maps.Values(flowFamilies)) {
		if !regexp.MustCompile(`(?m)^` + f.Name + `(_count|_bucket)?[ {]`).MatchString(got) {
			t.Errorf("%s has no sample", f.Name)
		}
	}
}

// steady leaves out what Go's own metrics say, and what takes time.
func steady(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case regexp.MustCompile(`^(# \w+ )?go_`).MatchString(line):
		default:
			out.WriteString(regexp.MustCompile(`^(cilium_process_\w+|(?:weir_cni_request|cilium_agent_api_process_time)_seconds_(?:bucket|sum).*}) .*`).ReplaceAllString(line, "$1 0"))
		}
	}
	return out.String()
}

// given are what the linter says of names that are not ours to choose.
var given = []string{
	`cilium_endpoint_count: non-histogram and non-summary metrics should not have "_count" suffix`,
	`cilium_policy_count: non-histogram and non-summary metrics should not have "_count" suffix`,
}

func TestNamesAndLabelsAreAsPrometheusWantsThem(t *testing.T) {
	lint(t, full(t))
}

func lint(t *testing.T, g prometheus.Gatherer) {
	t.Helper()
	problems, err := testutil.GatherAndLint(g)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, p := range problems {
		said = append(said, p.Metric+": "+p.Text)
		if !slices.Contains(given, p.Metric+": "+p.Text) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, g := range given {
		if !slices.Contains(said, g) {
			t.Errorf("not said any more, take it off the list: %s", g)
		}
	}
}

func TestWhatCannotBeReadCostsNothingElse(t *testing.T) {
	n := node()
	n.Packets = func() ([]Packets, error) { return nil, errors.New("no such map") }
	r := prometheus.NewRegistry()
	r.MustRegister(n.Collector(slog.New(slog.DiscardHandler)))
	text, err := Registry{r}.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`weir_metrics_unreadable{part="packets"} 1`, `weir_metrics_unreadable{part="maps"} 0`, "cilium_endpoint 4\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(text, "cilium_forward_count_total") {
		t.Error("counters that could not be read are told")
	}
}

// TestARequestForNothingKnownIsNoLabel: whoever asks cannot make series.
func TestARequestForNothingKnownIsNoLabel(t *testing.T) {
	rec := NewRecorder("cilium")
	h := rec.Requests(http.NewServeMux(), "/v1/cni/")
	for _, path := range []string{"/a", "/b", "/v1/cni/evil"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("WEIRD", path, nil))
	}
	if n := testutil.CollectAndCount(rec); n != 1 {
		t.Errorf("%d series, want one", n)
	}
}

func TestTheLinterIsAtWork(t *testing.T) {
	l := promlint.New(strings.NewReader("# HELP weir_bad_total x\n# TYPE weir_bad_total gauge\nweir_bad_total 1\n"))
	if problems, err := l.Lint(); err != nil || len(problems) == 0 {
		t.Errorf("problems %v, err %v: want one", problems, err)
	}
}
