package packets

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"weir/api/agent"
	"weir/test/policy/oracle"
)

// model is what the objects of a lab say, read by nothing of Weir's.
type model struct {
	worlds     map[string]*oracle.World       // by the node whose endpoints are judged
	identities map[string]uint32              // of pods, by their label app
	clusterIPs map[string][]netip.Addr        // by service
	policies   []string                       // "Kind namespace/name"
	endpoints  map[string]uint32              // of pods: what flows have as ID on their own node
	nodes      map[string]string              // of pods
	takes      map[string]map[bool]netip.Addr // by node and family: what pods of it have in the world

	mu     *sync.Mutex
	judged map[puzzle][2]oracle.Judgement // guarded by mu
}

// object is what all of them have.
type object struct {
	Kind           string `json:"kind"`
	Metadata       struct{ Namespace, Name string }
	SecurityLabels map[string]string `json:"security-labels"`
	Spec           struct{ ClusterIPs []string }
}

// readModel reads the objects that the lab has written.
func (c *cluster) readModel(t *testing.T) model {
	t.Helper()
	m := model{worlds: map[string]*oracle.World{}, identities: map[string]uint32{}, clusterIPs: map[string][]netip.Addr{}, endpoints: map[string]uint32{}, nodes: map[string]string{}, takes: map[string]map[bool]netip.Addr{}, mu: &sync.Mutex{}, judged: map[puzzle][2]oracle.Judgement{}}
	files, _ := filepath.Glob(filepath.Join(c.dir, "objects", "*.yaml")) // the pattern is right
	var judged []json.RawMessage
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := yaml.YAMLToJSON(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var o object
		if err := json.Unmarshal(raw, &o); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch o.Kind {
		case "CiliumIdentity":
			var id uint32
			fmt.Sscan(o.Metadata.Name, &id)
			m.identities[o.SecurityLabels["k8s:app"]] = id
			continue
		case "Service":
			m.clusterIPs[o.Metadata.Name] = addrsOf(t, o.Spec.ClusterIPs)
		case "NetworkPolicy", "CiliumNetworkPolicy":
			m.policies = append(m.policies, o.Kind+" "+o.Metadata.Namespace+"/"+o.Metadata.Name)
		case "Pod", "Namespace", "Node", "CiliumNode", "EndpointSlice":
		default:
			continue
		}
		judged = append(judged, raw)
	}
	for _, node := range []string{"n1", "n2"} {
		w, err := oracle.New(oracle.Settings{Cluster: c.spec.Name, Node: node, Mode: "default", IPv4: true, IPv6: true}, judged)
		if err != nil {
			t.Fatal(err)
		}
		m.worlds[node] = w
		m.takes[node] = map[bool]netip.Addr{true: c.addr(t, node, true), false: c.addr(t, node, false)}
	}
	for _, p := range []string{"a", "x", "other/o", "b", "c", "d"} {
		m.nodes[p] = c.pod(t, p).Node
		m.endpoints[p] = uint32(c.endpoint(t, p).ID)
	}
	return m
}

// lacks says what an agent does not have yet of what the objects say; empty: nothing.
func (tr *truth) lacks(t *testing.T, node string) string {
	t.Helper()
	var ips []agent.IP
	tr.get(t, node, agent.PathIPs, &ips)
	for p := range tr.nodes {
		want := tr.identity(p, true)
		for _, a := range tr.pod(t, p).IPs {
			if !slices.ContainsFunc(ips, func(r agent.IP) bool {
				return r.Prefix == netip.PrefixFrom(a, a.BitLen()).String() && r.Identity == want
			}) {
				return fmt.Sprintf("%s of %s has not the identity %d", a, p, want)
			}
		}
	}
	var policies []agent.Policy
	tr.get(t, node, agent.PathPolicies, &policies)
	for _, want := range tr.policies {
		if !slices.ContainsFunc(policies, func(p agent.Policy) bool {
			return p.Kind+" "+p.Namespace+"/"+p.Name == want && p.State == "in force"
		}) {
			return want + " is not in force"
		}
	}
	var services agent.Services
	tr.get(t, node, agent.PathServices, &services)
	with := 0
	for _, f := range services.Frontends {
		if len(f.Backends) == 1 {
			with++
		}
	}
	if with != 20 { // two services, five ports, two families
		return fmt.Sprintf("%d frontends of services have a backend, want 20", with)
	}
	return ""
}

// identity is a pod's, or that of the world.
func (m *model) identity(name string, is4 bool) uint32 {
	switch {
	case name != "world":
		return m.identities[strings.TrimPrefix(name, "other/")]
	case is4:
		return 9 // docs/identity.md
	}
	return 10
}

// judge is the oracle's word on the first packet of a connection, as a node has to ask.
func (m *model) judge(node string, o *opened) (egress, ingress oracle.Judgement) {
	p := oracle.Packet{Src: o.src.Addr(), Dst: o.dst.Addr(), Port: o.dst.Port()}
	switch o.proto {
	case "tcp":
		p.Proto = 6
	case "udp":
		p.Proto = 17
	case "icmp":
		if p.Proto, p.Port = 1, 8; !o.is4 {
			p.Proto, p.Port = 58, 128
		}
	}
	key := puzzle{node, p}
	m.mu.Lock()
	defer m.mu.Unlock()
	j, ok := m.judged[key]
	if !ok {
		j[0], j[1] = m.worlds[node].Judge(p)
		m.judged[key] = j
	}
	return j[0], j[1]
}

// puzzle is one to the oracle, which takes its time for each.
type puzzle struct {
	node   string
	packet oracle.Packet
}

// allowed reports whether the policies of both ends let a connection be.
func (m *model) allowed(o *opened) bool {
	for node := range m.worlds {
		egress, ingress := m.judge(node, o)
		if !egress.Passes() || !ingress.Passes() {
			return false
		}
	}
	return true
}

// by are the policies that a judgement names.
func by(j oracle.Judgement) string {
	var out []string
	for _, rule := range j.By {
		words := strings.Fields(rule)
		out = append(out, strings.Join(words[:min(2, len(words))], " "))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ",")
}
