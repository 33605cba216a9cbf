package packets

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
	"weir/lab"
)

// pairs are two servers, one beside the clients and one on another node, that a
// service has together and each has alone.
const pairs = `
apiVersion: v1
kind: Pod
metadata: {name: near, labels: {app: web, name: near}}
spec: {nodeName: n1, containers: [{name: c, image: nginx}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, labels: {app: web, name: far}}
spec: {nodeName: n2, containers: [{name: c, image: nginx}]}
---
apiVersion: v1
kind: Pod
metadata: {name: net}
spec: {nodeName: n1, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}
` + "---" + pairService

// pairService is changed by tests: its selector, and that of one of the others.
const pairService = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 8000, targetPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: udp-far}
spec: {ipFamilyPolicy: PreferDualStack, selector: {name: far}, ports: [{port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: udp-near}
spec: {ipFamilyPolicy: PreferDualStack, selector: {name: near}, ports: [{port: 53, protocol: UDP}]}
`

// within is what a client may have to wait to be told.
const within = time.Second

// served waits until the agent of n1 has that many backends.
func (c *cluster) served(t *testing.T, backends int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var all []agent.Backend
		if c.get(t, "n1", agent.PathBackends, &all); len(all) == backends {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent of n1 has the backends %v, want %d", all, backends)
		}
	}
}

// names are the connections that each client has, of both families and transports:
// by services, and to the pods themselves.
func (c *cluster) names(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, is4 := range []bool{true, false} {
		family := "6"
		if is4 {
			family = "4"
		}
		add := func(name, network string, a netip.Addr, port uint16) {
			out = append(out, fmt.Sprintf("%s-%s=%s/%s", name, family, network, netip.AddrPortFrom(a, port)))
		}
		for service, port := range map[string]uint16{"web": 8000, "udp-far": 53, "udp-near": 53} {
			s, err := c.Service("default/" + service)
			if err != nil {
				t.Fatal(err)
			}
			network, times := "udp", 1
			if service == "web" {
				network, times = "tcp", 16 // so that it has both backends
			}
			for i := range times {
				add(fmt.Sprint(service, "-", i), network, pick(addrsOf(t, s.Spec.ClusterIPs), is4), port)
			}
		}
		for _, pod := range []string{"near", "far"} {
			add("direct-"+pod, "tcp", c.addr(t, pod, is4), 80)
			add("direct-udp-"+pod, "udp", c.addr(t, pod, is4), 53)
		}
	}
	return out
}

// reaches are the names of connections that have a pod for a backend.
func reaches(events []event, pod string) map[string]bool {
	out := map[string]bool{}
	for _, e := range events {
		if e.what == "connected" || e.what == "again" {
			out[e.to] = (e.pod == pod || strings.HasPrefix(e.to, "udp-"+pod)) && !strings.HasPrefix(e.to, "direct-")
		}
	}
	maps.DeleteFunc(out, func(_ string, yes bool) bool { return !yes })
	return out
}

// ended waits until those connections are told that they have ended, each in time,
// and checks that they are told nothing else, and no other connection anything.
func (h *holder) ended(t *testing.T, who string, want map[string]bool, since time.Time, limit time.Duration) {
	t.Helper()
	told := func(events []event) map[string]string {
		out := map[string]string{}
		for _, e := range events {
			if e.at.After(since) && e.what != "connected" && e.what != "again" && out[e.to] == "" {
				out[e.to] = e.what
			}
		}
		return out
	}
	events := h.await(t, who+" is told", limit+3*time.Second, func(events []event) bool {
		got := told(events)
		for name := range want {
			if got[name] == "" {
				return false
			}
		}
		return true
	})
	var last time.Duration
	for _, e := range events {
		if e.what == aborted && e.at.After(since) {
			last = max(last, e.at.Sub(since))
		}
	}
	for name, what := range told(events) {
		if !want[name] || what != aborted {
			t.Errorf("%s: connection %s is told %s; expected were the ends of %v", who, name, what, slices.Sorted(maps.Keys(want)))
		}
	}
	if last > limit {
		t.Errorf("%s: the last of %d was told after %v, at most %v are fine", who, len(want), last, limit)
	}
	t.Logf("%s: %d connections of %d ended, the last after %v", who, len(want), len(events), last.Round(time.Millisecond))
}

// A client is told within a second that the backend is gone which a service gave
// it, and whoever has another or did not ask a service is left alone: when the
// service does not want the backend any more, and when it vanishes while there is no
// agent.
func TestRowC8ConnectionsToRemovedBackendsEnd(t *testing.T) {
	needRoot(t)
	s := lab.Spec{Name: prefix + "ending", Mode: "vxlan", Nodes: lab.Nodes(2), Agent: map[string]any{"health": map[string]any{"enabled": false}}}
	c := temporary(t, s, nil)
	if err := c.ApplyYAML(t.Context(), "pairs.yaml", []byte(pairs)).Err(); err != nil {
		t.Fatal(err)
	}
	c.served(t, 8)
	clients, names := map[string]*holder{}, c.names(t)
	for _, from := range []string{"net", "n1"} {
		clients[from] = c.hold(t, from, names)
	}
	gone := map[string]map[string]bool{}
	note := func(pod string) {
		for from, h := range clients {
			h.mu.Lock()
			gone[from] = reaches(h.events, pod)
			h.mu.Unlock()
			if n := len(gone[from]); n < 4 {
				t.Fatalf("%s has %d connections to %s: %v", from, n, pod, gone[from])
			}
		}
	}
	note("far")
	since := time.Now()
	others := strings.NewReplacer("selector: {app: web}", "selector: {name: near}", "selector: {name: far}", "selector: {name: nobody}").Replace(pairService)
	if err := c.ApplyYAML(t.Context(), "pairs2.yaml", []byte(others)).Err(); err != nil {
		t.Fatal(err)
	}
	for from, h := range clients {
		h.ended(t, from, gone[from], since, within)
		h.await(t, from+" is connected again", within, func(events []event) bool {
			return len(slices.Collect(maps.Keys(reaches(events, "near")))) >= 32
		})
	}

	if err := c.Agent(t.Context(), "n1", lab.AgentKill); err != nil {
		t.Fatal(err)
	}
	c.run(t, "near", "ip", "link", "set", "eth0", "down") // it does not say farewell
	if err := c.DeletePods(t.Context(), "near"); err != nil {
		t.Fatal(err)
	}
	note("near")
	since = time.Now()
	if err := c.Agent(t.Context(), "n1", lab.AgentStart); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	for from, h := range clients {
		h.ended(t, from, gone[from], since, within+started.Sub(since))
		h.await(t, from+" is refused", within, func(events []event) bool {
			return slices.ContainsFunc(events, func(e event) bool { return e.what == refused && strings.HasPrefix(e.to, "web-") })
		})
	}
}
