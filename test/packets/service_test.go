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

// webServers are a server on each node.
const webServers = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
`

// webs are three servers with a service, and a client beside one of them.
const webs = webServers + `
---
apiVersion: v1
kind: Pod
metadata: {name: net}
spec: {nodeName: n1, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}
` + webService

// webService is the service of the pods with the label app=web.
const webService = `
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{name: tcp, port: 8000, targetPort: 80, nodePort: 32000}, {name: udp, port: 8000, targetPort: 80, nodePort: 32000, protocol: UDP}]
`

// serving makes a lab with them.
func serving(t *testing.T, routing string) *cluster {
	t.Helper()
	needRoot(t)
	s := lab.Spec{Name: prefix + "serve-" + routing, Mode: routing, Nodes: lab.Nodes(3), Agent: map[string]any{"health": map[string]any{"enabled": false}}}
	c := temporary(t, s, nil)
	if err := c.ApplyYAML(t.Context(), "web.yaml", []byte(webs)).Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var all agent.Services
		c.get(t, "n1", agent.PathServices, &all)
		if len(all.Frontends) == 12 && len(all.Frontends[0].Backends) == 3 {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent of n1 has %+v", all)
		}
	}
}

// curl asks many times from somewhere, and returns how often each pod answered.
func (c *cluster) curl(t *testing.T, from string, to netip.AddrPort, times int) map[string]int {
	t.Helper()
	script := fmt.Sprintf("for i in $(seq %d); do curl -sS -m 3 http://%s/ || echo FAILED; done", times, to)
	out := map[string]int{}
	for line := range strings.Lines(c.run(t, from, "sh", "-c", script)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "PodName: "), " ")
		out[strings.TrimSpace(name)]++
	}
	return out
}

// Without kube-proxy every client reaches every backend by every address of a
// service; what pods and nodes send is addressed to a backend from the first
// packet on, and nothing of it is in conntrack or iptables.
func TestRowsOfServicesWithoutKubeProxy(t *testing.T) {
	for _, routing := range []string{"vxlan", "native"} {
		t.Run(routing, func(t *testing.T) {
			c := serving(t, routing)
			service, err := c.Service("default/web")
			if err != nil {
				t.Fatal(err)
			}
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				clusterIP := netip.AddrPortFrom(pick(addrsOf(t, service.Spec.ClusterIPs), is4), 8000)
				for from, addresses := range map[string][]netip.AddrPort{
					"net": {clusterIP, c.nodePort(t, "n1", is4), c.nodePort(t, "n2", is4)}, "n1": {clusterIP, c.nodePort(t, "n1", is4), c.nodePort(t, "n2", is4)},
					"world": {c.nodePort(t, "n1", is4), c.nodePort(t, "n2", is4)},
				} {
					for _, to := range addresses {
						got := c.curl(t, from, to, 30)
						if got["FAILED"] > 0 || len(got) != 3 {
							t.Errorf("%s asks %s: %v answered, want all three of them", from, to, slices.Sorted(maps.Keys(got)))
						}
					}
				}
				c.dialsBackends(t, clusterIP)
				c.dialsBackends(t, c.nodePort(t, "n1", is4))
				c.namesTheService(t, clusterIP)
				c.namesTheService(t, c.nodePort(t, "n2", is4))
			})
			if rules := c.run(t, "n1", "sh", "-c", "iptables-save; ip6tables-save"); strings.Contains(rules, "32000") || strings.Contains(rules, "KUBE-") {
				t.Errorf("iptables of n1:\n%s", rules)
			}
			if known := c.run(t, "n1", "sh", "-c", "cat /proc/net/nf_conntrack 2>/dev/null || true"); strings.Contains(known, "32000") {
				t.Errorf("conntrack of n1:\n%s", known)
			}
		})
	}
}

func addrsOf(t *testing.T, texts []string) (out []netip.Addr) {
	t.Helper()
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func (c *cluster) nodePort(t *testing.T, node string, is4 bool) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(c.addr(t, node, is4), 32000)
}

// dialsBackends watches what the pod net sends when it names a service.
func (c *cluster) dialsBackends(t *testing.T, to netip.AddrPort) {
	t.Helper()
	capture, err := c.Capture(t.Context(), "net", "eth0", "tcp")
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Stop()
	c.curl(t, "net", to, 3)
	syns := func(lines []string) (backend, service int) {
		for _, l := range lines {
			if strings.Contains(l, "Flags [S],") && strings.Contains(l, ".80: ") {
				backend++
			}
			if strings.Contains(l, fmt.Sprintf(".%d: ", to.Port())) {
				service++
			}
		}
		return backend, service
	}
	if err := capture.Await(t.Context(), func(lines []string) bool { n, _ := syns(lines); return n >= 3 }); err != nil {
		t.Fatalf("%s: the pod has sent\n%s", to, strings.Join(capture.Lines(), "\n"))
	}
	if backend, service := syns(capture.Lines()); backend != 3 || service != 0 {
		t.Errorf("%s: %d SYNs to backends, want 3; %d packets to the service, want none", to, backend, service)
	}
}

// namesTheService looks whether flows say which service the pod net, and its node, have asked
// for, though a backend has been in its place from the first packet on: by connect, and by
// datagrams of a socket that is not connected.
func (c *cluster) namesTheService(t *testing.T, to netip.AddrPort) {
	t.Helper()
	const send = `use Socket qw(:all); my ($to, $port) = @ARGV; my $six = $to =~ /:/;
		socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0) or die $!;
		my $at = inet_pton($six ? AF_INET6 : AF_INET, $to);
		send($s, "x", 0, $six ? pack_sockaddr_in6($port, $at) : pack_sockaddr_in($port, $at)) or die $!;`
	askers := []string{"net", "n1"}
	if c.spec.Mode == lab.ModeNative {
		askers = askers[:1] // a node's own packets to other nodes meet no program that tells
	}
	for _, from := range askers {
		since := time.Now()
		c.curl(t, from, to, 3)
		c.run(t, from, "perl", "-e", send, to.Addr().String(), fmt.Sprint(to.Port()))
		var said string
		if !await(patience, func() bool {
			said = c.run(t, "n1", "weir", "observe", "--all", "--since", since.UTC().Format(time.RFC3339Nano), "--to-service", "default/web", "--not", "--reply")
			return strings.Count(said, "(TCP Flags: SYN)") == 3 && strings.Count(said, "(TCP Flags: FIN, ACK)") >= 3 && strings.Count(said, "(UDP)") == 1
		}) {
			t.Errorf("%s has connected to %s three times, and sent a datagram; flows to the service:\n%s\nall:\n%s", from, to, said, c.run(t, "n1", "weir", "observe", "--all", "--since", since.UTC().Format(time.RFC3339Nano)))
		}
	}
}

// 300 requests find each of three backends about as often as the others.
func TestRowJ12BackendsAreChosenAlike(t *testing.T) {
	c := serving(t, "vxlan")
	got := c.curl(t, "net", c.nodePort(t, "n1", true), 300)
	for pod, n := range got {
		if n < 70 || n > 130 {
			t.Errorf("%s answered %d of 300", pod, n)
		}
	}
	if len(got) != 3 {
		t.Errorf("answered: %v", got)
	}
	// A killed agent is not missed, and one that starts again changes nothing.
	if err := c.Agent(t.Context(), "n1", lab.AgentKill); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"net", "world"} {
		if got := c.curl(t, from, c.nodePort(t, "n1", true), 30); got["FAILED"] > 0 {
			t.Errorf("without an agent, from %s: %v", from, got)
		}
	}
	if err := c.Agent(t.Context(), "n1", lab.AgentStart); err != nil {
		t.Fatal(err)
	}
	if got := c.curl(t, "net", c.nodePort(t, "n1", true), 30); got["FAILED"] > 0 || len(got) != 3 {
		t.Errorf("with an agent again: %v", got)
	}
}
