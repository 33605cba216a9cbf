package packets

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/lab"
)

// kinds are a backend on each of two nodes, each with a service of either
// traffic policy, at every kind of address.
const kinds = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {nodeName: n1, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec: {nodeName: n1, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}}
spec: {nodeName: n2, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}
`

// asked is a service of kinds.
type asked struct {
	app, policy string
	port        int // its NodePort, and its port plus 22000
}

var kindsOf = []asked{{"one", "Cluster", 32001}, {"one", "Local", 32002}, {"two", "Cluster", 32003}, {"two", "Local", 32004}}

// outside are addresses that the world routes to n1.
var outside = map[bool]netip.Addr{true: netip.MustParseAddr("198.51.100.77"), false: netip.MustParseAddr("2001:db8:77::77")}

func (s asked) name() string { return s.app + "-" + strings.ToLower(s.policy) }
func (s asked) node() string { return map[string]string{"one": "n1", "two": "n2"}[s.app] }

func (s asked) yaml() string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  externalTrafficPolicy: %s
  externalIPs: [%s, "%s"]
  selector: {app: %s}
  ports: [{port: %d, targetPort: 8080, nodePort: %d}]
`, s.name(), s.policy, outside[true], outside[false], s.app, s.port-22000, s.port)
}

// way is one request: by whom, to what address, and what is to come of it.
type way struct {
	at   netip.AddrPort
	by   string // the node that is asked, where it counts
	kind string
	of   asked
}

// ways are all addresses of a service, of one family.
func (c *cluster) ways(t *testing.T, s asked, is4 bool) []way {
	t.Helper()
	row, err := c.Service("default/" + s.name())
	if err != nil {
		t.Fatal(err)
	}
	var ips []string
	for _, i := range row.Status.LoadBalancer.Ingress {
		ips = append(ips, i.IP)
	}
	port := uint16(s.port - 22000)
	return []way{
		{netip.AddrPortFrom(pick(addrsOf(t, row.Spec.ClusterIPs), is4), port), "", "ClusterIP", s},
		{netip.AddrPortFrom(c.addr(t, "n1", is4), uint16(s.port)), "n1", "NodePort", s},
		{netip.AddrPortFrom(c.addr(t, "n2", is4), uint16(s.port)), "n2", "NodePort", s},
		{netip.AddrPortFrom(outside[is4], port), "n1", "externalIP", s},
		{netip.AddrPortFrom(pick(addrsOf(t, ips), is4), port), "n1", "LoadBalancer", s},
	}
}

// Every client reaches every backend by every kind of address, as the traffic
// policy says, and who may keep its address does.
func TestEveryClientByEveryKindOfAddress(t *testing.T) {
	for _, mode := range []string{"snat", "dsr"} {
		for _, routing := range []string{lab.ModeVXLAN, lab.ModeNative} {
			t.Run(mode+","+routing, func(t *testing.T) {
				needRoot(t)
				s := lab.Spec{Name: prefix + "kinds-" + mode + "-" + routing, Mode: routing, Nodes: lab.Nodes(2),
					Agent: map[string]any{"health": map[string]any{"enabled": false}, "loadBalancer": map[string]any{"mode": mode},
						// An open one: it must not take what leaves for pods and clients for the node's own.
						"hostFirewall": map[string]any{"enabled": mode == "snat"}}}
				c := temporary(t, s, nil)
				text := kinds
				for _, s := range kindsOf {
					text += s.yaml()
				}
				if err := c.ApplyYAML(t.Context(), "kinds.yaml", []byte(text)).Err(); err != nil {
					t.Fatal(err)
				}
				for _, node := range []string{"n1", "n2"} {
					c.awaitBackends(t, node, frontendsOfKinds)
				}
				c.eachFamily(t, func(t *testing.T, is4 bool) {
					c.run(t, "world", "ip", "route", "replace", outside[is4].String(), "via", c.addr(t, "n1", is4).String())
					for _, pod := range []string{"one", "two"} {
						c.tellsClients(t, pod, is4)
					}
					if got, want := c.sees(t, "world", c.addr(t, "world", is4), "client"), c.addr(t, "n1", is4); got != want {
						t.Errorf("the world sees %s, want the node %s", got, want)
					}
					for _, s := range kindsOf {
						c.tryWays(t, c.ways(t, s, is4), mode, routing, is4)
					}
				})
				c.judgesWorld(t, mode == "dsr" || routing == lab.ModeVXLAN)
			})
		}
	}
}

// worldOnly is a policy of the pod two.
const worldOnly = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: world-only}
spec: {endpointSelector: {matchLabels: {app: two}}, ingress: [{fromEntities: [world]}]}
`

// judgesWorld lets only the world ask a pod: who asks by the NodePort of another node
// is the world, too, if that node can tell; in native routing it is the node.
func (c *cluster) judgesWorld(t *testing.T, told bool) {
	t.Helper()
	if err := c.ApplyYAML(t.Context(), "kinds-policy.yaml", []byte(worldOnly)).Err(); err != nil {
		t.Fatal(err)
	}
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		c.tellsClients(t, "two", is4)
		port := uint16(kindsOf[2].port)
		far, near := netip.AddrPortFrom(c.addr(t, "n1", is4), port), netip.AddrPortFrom(c.addr(t, "n2", is4), port)
		eventually(t, "the policy is in force", func() bool { return c.curlOnce(t, "client", far) == "" })
		if got := c.curlOnce(t, "world", near); !strings.HasPrefix(got, "two ") {
			t.Errorf("the world asks the pod's node: got %q", got)
		}
		if got := c.curlOnce(t, "world", far); strings.HasPrefix(got, "two ") != told {
			t.Errorf("the world asks another node: got %q, want an answer: %v", got, told)
		}
	})
}

// frontendsOfKinds is how many a node has of the services of kinds: of both families,
// the ClusterIP, the external address, that of the load balancer, and NodePorts
// at the node's own address and at every other node's.
const frontendsOfKinds = 2 * 4 * 5

// tellsClients answers at port 8080 of a pod with whom it sees.
func (c *cluster) tellsClients(t *testing.T, pod string, is4 bool) {
	t.Helper()
	l := listenAt(t, c.netns(t, pod), netip.AddrPortFrom(c.addr(t, pod, is4), 8080))
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, pod, " ", host)
	}))
}

// tryWays asks every way from everywhere.
func (c *cluster) tryWays(t *testing.T, ways []way, mode, routing string, is4 bool) {
	t.Helper()
	for _, w := range ways {
		if w.kind != "ClusterIP" { // which is nobody's from outside
			c.expect(t, "world", w, c.curlOnce(t, "world", w.at), c.worldSees(t, w, mode, is4))
		}
		pod, node := c.addr(t, "client", is4).String(), "*"
		if w.kind == "NodePort" && w.by == "n2" && w.of.policy == "Local" { // for which n1 and its pods are outside
			switch {
			case w.of.app == "one": // n2 has no backend
				pod, node = "", ""
			case routing == lab.ModeVXLAN:
				pod = c.addr(t, "n1", is4).String()
			}
		}
		c.expect(t, "client", w, c.curlOnce(t, "client", w.at), pod)
		c.expect(t, "client, by packets", w, c.askOnce(t, "client", w.at), pod)
		c.expect(t, "n1", w, c.curlOnce(t, "n1", w.at), node)
	}
}

// worldSees is whom the backend sees when the world asks; "": nobody.
func (c *cluster) worldSees(t *testing.T, w way, mode string, is4 bool) string {
	t.Helper()
	switch {
	case w.by == w.of.node():
		return c.addr(t, "world", is4).String()
	case w.of.policy == "Local":
		return ""
	case mode == "dsr":
		return c.addr(t, "world", is4).String()
	}
	return c.addr(t, w.by, is4).String()
}

func (c *cluster) expect(t *testing.T, from string, w way, got, client string) {
	t.Helper()
	want := w.of.app + " " + client
	if client == "" {
		want = ""
		if strings.HasSuffix(got, "i/o timeout") { // as askOnce says it
			return
		}
	}
	if client == "*" && strings.HasPrefix(got, w.of.app+" ") {
		return
	}
	if got != want {
		t.Errorf("%s asks %s %s of %s: got %q, want %q", from, w.kind, w.at, w.of.name(), got, want)
	}
}

// curlOnce asks by a process of a pod, a node or the world, whose sockets the
// node's cgroup has.
func (c *cluster) curlOnce(t *testing.T, from string, to netip.AddrPort) string {
	t.Helper()
	options := "-s -m 2"
	if from == "world" { // by the address that is on no link of the nodes
		options += " --interface " + c.addr(t, from, to.Addr().Is4()).String()
	}
	return strings.TrimSpace(c.run(t, from, "sh", "-c", fmt.Sprintf("curl %s http://%s/ || true", options, to)))
}

// askOnce asks from a pod's namespace by a process outside of the node's cgroup:
// no socket finds the service, its packets have to.
func (c *cluster) askOnce(t *testing.T, from string, to netip.AddrPort) string {
	t.Helper()
	conn, err := dial(c.netns(t, from), "tcp", to.String())
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(conn, "GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
