package lifecycle

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"weir/api/agent"
	v1 "weir/api/v1"
	"weir/lab"
	"weir/operator"
)

// nodeObject is the file of a CiliumNode in the lab of a node.
func nodeObject(n lab.Node, name string) string {
	return filepath.Join(filepath.Dir(n.Dir), "objects", "ciliumnode_"+name+".yaml")
}

// putNode writes the CiliumNode of n under a name, with pod CIDRs and what follows from
// them, as an operator does.
func putNode(t *testing.T, n lab.Node, name string, cidrs ...string) {
	t.Helper()
	var o v1.CiliumNode
	if err := yaml.Unmarshal([]byte(read(t, nodeObject(n, n.Name))), &o); err != nil {
		t.Fatal(err)
	}
	var all []netip.Prefix
	for _, c := range cidrs {
		all = append(all, netip.MustParsePrefix(c))
	}
	o.Name, o.Spec.IPAM.PodCIDRs, o.Spec.Health = name, cidrs, v1.AddressPair{}
	had := o.Spec.Addresses
	o.Spec.Addresses = nil
	for _, a := range had {
		if a.Type == v1.InternalIP {
			o.Spec.Addresses = append(o.Spec.Addresses, a)
		}
	}
	for _, a := range operator.RouterIP(all) {
		o.Spec.Addresses = append(o.Spec.Addresses, v1.NodeAddress{Type: v1.CiliumInternalIP, IP: a.String()})
	}
	for _, a := range operator.HealthIP(all) {
		if a.Is4() {
			o.Spec.Health.IPv4 = a.String()
		} else {
			o.Spec.Health.IPv6 = a.String()
		}
	}
	data, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	tmp := nodeObject(n, name) + ".tmp" // no file of objects
	write(t, tmp, string(data))
	if err := os.Rename(tmp, nodeObject(n, name)); err != nil {
		t.Fatal(err)
	}
}

// wantWarning waits for a warning of the agent's status; "" is for none about addresses.
func wantWarning(t *testing.T, l *lab.Lab, name, want string) {
	t.Helper()
	until(t, 20*time.Second, func() string {
		got := strings.Join(get[agent.Status](t, l, name, agent.PathStatus).Warnings, "\n")
		if want == "" && strings.Contains(got, "in no pod CIDR") || !strings.Contains(got, want) {
			return "warnings: " + got
		}
		return ""
	})
}

// reach pings each address of pods from places; all must answer.
func reach(t *testing.T, l *lab.Lab, pairs ...[2]string) {
	t.Helper()
	for _, p := range pairs {
		wantPing(t, l, p[0], p[1])
	}
}

// wantIn says that the addresses of a pod are of these CIDRs.
func wantIn(t *testing.T, l *lab.Lab, name string, cidrs ...string) {
	t.Helper()
	for i, a := range pod(t, l, name).IPs {
		if !netip.MustParsePrefix(cidrs[i]).Contains(a) {
			t.Errorf("%s has %s, want one of %s", name, a, cidrs[i])
		}
	}
}

// traffic is between pods of n1 and n2 while something is done to n1.
func whileTrafficFlows(t *testing.T, l *lab.Lab, do func()) {
	t.Helper()
	startEcho(t, l, "b")
	startEcho(t, l, "c")
	streams := append(startTraffic(t, l, "a", "b"), startTraffic(t, l, "a", "c")...)
	flow(t, streams, 200*time.Millisecond)
	do()
	flow(t, streams, time.Second)
	wantNoLoss(t, streams)
}

// Pods keep their addresses, and everybody who has reached them does; new ones get
// addresses of the new CIDRs.
func TestPodsGoOnWhenTheirNodeGetsOtherPodCIDRs(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-cidr", Nodes: lab.Nodes(2)}, pods)
	n := node(t, l, "n1")
	before := pod(t, l, "a").IPs
	whileTrafficFlows(t, l, func() {
		putNode(t, n, "n1", "10.0.7.0/24", "fd00::700/120")
		wantWarning(t, l, "n1", "2 pods (default/a, default/b) have addresses that are in no pod CIDR of node n1 (10.0.7.0/24, fd00::700/120)")
		until(t, 20*time.Second, func() string { // programs are loaded anew first
			if got := run(t, l, "a", "ip", "route", "show", "default"); !strings.Contains(got, "via 10.0.7.1 ") {
				return got
			}
			return ""
		})
	})
	if err := l.ApplyYAML(t.Context(), "late.yaml", []byte(bare("late", "n1"))).Err(); err != nil {
		t.Fatal(err)
	}
	wantIn(t, l, "late", "10.0.7.0/24", "fd00::700/120")
	all := [][2]string{{"late", "a"}, {"a", "late"}, {"late", "c"}, {"c", "late"}, {"a", "c"}, {"c", "a"}, {"a", "b"}, {"n1", "a"}, {"n1", "late"}, {"n2", "late"}}
	reach(t, l, all...)
	agentDo(t, l, "n1", lab.AgentRestart)
	until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "b", "late") })
	reach(t, l, all...)
	for i, a := range pod(t, l, "a").IPs {
		if a != before[i] {
			t.Errorf("a has %s, had %s", a, before[i])
		}
	}
	// With the old CIDR beside the new one, hosts of other nodes reach them again.
	putNode(t, n, "n1", "10.0.7.0/24", "10.0.0.0/24", "fd00::700/120", "fd00::/120")
	wantWarning(t, l, "n1", "")
	until(t, 10*time.Second, func() string {
		if got := run(t, l, "n1", "ip", "route", "show", "10.0.0.3"); got != "" {
			return "a route for one pod is left: " + got
		}
		return ""
	})
	reach(t, l, append(all, [2]string{"n2", "a"})...)
}

// The cluster has the node under another name, with other pod CIDRs, as an operator
// gives it; objects of its pods name the old one to their end.
func TestPodsGoOnWhenTheirNodeIsRenamed(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-name", Nodes: lab.Nodes(2)}, pods)
	n := node(t, l, "n1")
	had := endpoints(t, l, "n1")
	whileTrafficFlows(t, l, func() {
		if err := os.Rename(nodeObject(n, "n1"), nodeObject(n, "n1")+".old"); err != nil { // first it is gone
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		wantEndpoints(t, l, "n1", had)
		if err := os.Rename(nodeObject(n, "n1")+".old", nodeObject(n, "n1")); err != nil {
			t.Fatal(err)
		}
		putNode(t, n, "n9", "10.0.7.0/24", "fd00::700/120")
		if err := os.Remove(nodeObject(n, "n1")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(n.Dir, "weir.yaml")
		write(t, file, strings.Replace(read(t, file), "nodeName: n1", "nodeName: n9", 1))
		agentDo(t, l, "n1", lab.AgentRestart)
		until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "b") })
		wantWarning(t, l, "n1", "have addresses that are in no pod CIDR of node n9 (10.0.7.0/24, fd00::700/120)")
	})
	wantEndpoints(t, l, "n1", had)
	if s := get[agent.Status](t, l, "n1", agent.PathStatus); s.Node != "n9" || !s.OK {
		t.Errorf("node %s, OK %v: %+v", s.Node, s.OK, s.Controllers)
	}
	reach(t, l, [2]string{"a", "c"}, [2]string{"c", "a"}, [2]string{"a", "b"}, [2]string{"n1", "a"})
}
