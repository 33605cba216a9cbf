package lifecycle

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"

	"weir/api/agent"
	"weir/lab"
)

func TestNetnsMissing(t *testing.T) {
	a := attachment{lab: vxlanLab(t), node: "n1", id: "nowhere", netns: "/run/netns/ltb-no-such"}
	r := a.call(t, "ADD", nil)
	if r.err == nil || r.err.Code >= 100 {
		t.Errorf("ADD: %+v %s, want a code of the protocol", r.err, r.out)
	}
	if r.err != nil {
		wantText(t, "ADD", r.err.Error(), "/run/netns/ltb-no-such")
	}
	a.del(t)
}

func TestNetnsHasAnInterfaceOfThatName(t *testing.T) {
	l := vxlanLab(t)
	a := attach(t, l, "n1", "taken")
	a.exec(t, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
	before := endpoints(t, l, "n1")
	wantRefusal(t, "ADD", a.call(t, "ADD", nil), uint(agent.CodeInvalidEnvironment), "eth0", "already", a.netns)
	a.exec(t, "ip", "link", "show", "eth0")
	wantEndpoints(t, l, "n1", before)
}

func TestNetnsOfTheNodeItself(t *testing.T) {
	l := vxlanLab(t)
	a := attachment{lab: l, node: "n1", id: "own", netns: "/run/netns/" + node(t, l, "n1").Netns}
	r := a.call(t, "ADD", nil)
	if r.err == nil {
		t.Fatalf("ADD: it worked: %s", r.out)
	}
	wantText(t, "ADD", r.err.Error(), "node itself", a.netns)
}

func TestAddTwiceIsRefusedAndTheFirstWorksOn(t *testing.T) {
	l := vxlanLab(t)
	a := attach(t, l, "n1", "twice")
	ips, _ := a.add(t)
	wantRefusal(t, "second ADD", a.call(t, "ADD", nil), uint(agent.CodeAlreadyAdded), "twice", "DEL it first")
	for _, ip := range ips {
		run(t, l, "c", "ping", "-n", "-c1", "-W2", ip.String())
	}
	a.del(t)
}

func TestDeleteWithoutAddAndTwice(t *testing.T) {
	l := vxlanLab(t)
	before := endpoints(t, l, "n1")
	a := attach(t, l, "n1", "never")
	a.del(t)
	a.add(t)
	a.del(t)
	a.del(t)
	wantEndpoints(t, l, "n1", before)
}

func TestAgentDownIsTryAgainLaterWithinFiveSeconds(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-down", Nodes: lab.Nodes(1)}, "")
	a := attach(t, l, "n1", "away")
	agentDo(t, l, "n1", lab.AgentStop)
	r := a.call(t, "ADD", nil)
	wantRefusal(t, "ADD", r, uint(agent.CodeTryAgainLater), "try again later", "n1/run/weir.sock")
	t.Logf("ADD without an agent answered after %s", r.took)
	status := a.call(t, "STATUS", nil)
	wantRefusal(t, "STATUS", status, uint(agent.CodeUnavailable))
	if r := a.call(t, "DEL", nil); r.err != nil || r.took.Seconds() > 5 {
		t.Errorf("DEL: %+v after %s, want it queued within 5s", r.err, r.took)
	}
	agentDo(t, l, "n1", lab.AgentStart)
	a.add(t)
	a.del(t)
}

func TestHangingAgentIsAnsweredForWithinFiveSeconds(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-hang", Nodes: lab.Nodes(1)}, "")
	gone := attach(t, l, "n1", "gone")
	gone.add(t)
	a := attach(t, l, "n1", "hung")
	pid := node(t, l, "n1").Agent.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { syscall.Kill(pid, syscall.SIGCONT) }
	defer resume()
	r := a.call(t, "ADD", nil)
	wantRefusal(t, "ADD", r, uint(agent.CodeTryAgainLater), "try again later")
	d := gone.call(t, "DEL", nil)
	if d.err != nil || d.took.Seconds() > 5 {
		t.Errorf("DEL: %+v after %s, want it queued within 5s", d.err, d.took)
	}
	t.Logf("with a stopped agent ADD took %s, DEL %s", r.took, d.took)
	resume()
	a.del(t) // what a runtime does after an ADD that failed
	agentDo(t, l, "n1", lab.AgentRestart)
	if left := endpoints(t, l, "n1"); len(left) != 0 {
		t.Errorf("endpoints of pods: %v, want none", left)
	}
}

func TestPoolExhausted(t *testing.T) {
	l := ownLab(t, smallPool("ltb-full", "10.9.0.0/29", "fd09::/120"), "")
	var all []attachment
	var ips [][]netip.Addr
	for i := range 4 { // of six, router and health endpoint have two
		all = append(all, attach(t, l, "n1", fmt.Sprintf("p%d", i)))
		got, _ := all[i].add(t)
		ips = append(ips, got)
	}
	late := attach(t, l, "n1", "late")
	wantRefusal(t, "fifth ADD", late.call(t, "ADD", nil), uint(agent.CodeExhausted), "10.9.0.0/29", "6 of 6", "another pod CIDR")
	all[0].exec(t, "ping", "-n", "-c1", "-W2", ips[3][0].String())
	all[2].del(t)
	got, _ := late.add(t)
	if got[0] != ips[2][0] {
		t.Errorf("the freed address is %s, the next pod got %s", ips[2][0], got[0])
	}
	all[0].exec(t, "ping", "-n", "-c1", "-W2", got[0].String())
	// The refused ADD has not kept its IPv6 address either.
	for _, p := range get[agent.Status](t, l, "n1", agent.PathStatus).IPAM {
		if p.Allocated != 6 {
			t.Errorf("%s: %d addresses allocated, want 6", p.CIDR, p.Allocated)
		}
	}
}

func TestSecondPodCIDRIsUsedWhenTheFirstIsFull(t *testing.T) {
	l := ownLab(t, smallPool("ltb-cidrs", "10.9.0.0/29", "10.9.1.0/24", "fd09::/120"), "")
	first, second := netip.MustParsePrefix("10.9.0.0/29"), netip.MustParsePrefix("10.9.1.0/24")
	other := attach(t, l, "n2", "far")
	other.add(t)
	for i := range 6 {
		a := attach(t, l, "n1", fmt.Sprintf("p%d", i))
		ips, _ := a.add(t)
		want := first
		if i >= 4 {
			want = second
		}
		if !want.Contains(ips[0]) {
			t.Errorf("pod %d got %s, want one of %s", i, ips[0], want)
		}
		for _, ip := range ips {
			other.exec(t, "ping", "-n", "-c1", "-W2", ip.String())
		}
	}
}

// smallPool is a lab of two nodes, the first with these pod CIDRs.
func smallPool(name string, cidrs ...string) lab.Spec {
	n := lab.Nodes(2)
	for _, c := range cidrs {
		n[0].PodCIDRs = append(n[0].PodCIDRs, netip.MustParsePrefix(c))
	}
	return lab.Spec{Name: name, Nodes: n}
}

func TestCheckNamesWhatIsAmiss(t *testing.T) {
	l := vxlanLab(t)
	a := attach(t, l, "n1", "check")
	ips, result := a.add(t)
	check := func() reply { return a.call(t, "CHECK", map[string]any{"prevResult": result}) }
	if r := check(); r.err != nil {
		t.Fatalf("CHECK of an endpoint that is well: %+v", r.err)
	}
	ip := ips[0].String()
	a.exec(t, "ip", "addr", "del", ip+"/32", "dev", "eth0")
	wantRefusal(t, "address removed", check(), uint(agent.CodeBroken), ip)
	a.del(t)

	_, result = a.add(t)
	a.exec(t, "ip", "-4", "route", "del", "default")
	wantRefusal(t, "route removed", check(), uint(agent.CodeBroken), "lacks the route to 0.0.0.0/0")
	a.del(t)

	_, result = a.add(t)
	settled(t, l)
	id := endpointOf(t, l, "n1", "check").ID
	if err := os.Remove(fmt.Sprintf("%s/links/endpoints/%d/from_pod", tree(node(t, l, "n1")), id)); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "program detached", check(), uint(agent.CodeBroken), "from_pod is not attached")
	a.del(t)
	wantRefusal(t, "CHECK after DEL", check(), uint(agent.CodeUnknownContainer), "check")
}

func TestGCRemovesStaleAttachments(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-gc", Nodes: lab.Nodes(1)}, "")
	keep, stale := attach(t, l, "n1", "keep"), attach(t, l, "n1", "stale")
	ips, _ := keep.add(t)
	stale.add(t)
	valid := []map[string]string{{"containerID": "keep", "ifname": "eth0"}}
	if r := keep.call(t, "GC", map[string]any{"cni.dev/valid-attachments": valid}); r.err != nil {
		t.Fatalf("GC: %+v", r.err)
	}
	if got := endpoints(t, l, "n1"); !slices.Equal(got, []string{"default/keep"}) {
		t.Errorf("endpoints after GC: %v, want default/keep", got)
	}
	run(t, l, "n1", "ping", "-n", "-c1", "-W2", ips[0].String())
	if r := keep.call(t, "GC", nil); r.err == nil {
		t.Error("GC that does not say what is valid worked; it would delete everything")
	}
}

// endpoints are the pods of a node's endpoints, sorted.
func endpoints(t *testing.T, l *lab.Lab, node string) []string {
	t.Helper()
	var out []string
	for _, e := range get[[]agent.Endpoint](t, l, node, agent.PathEndpoints) {
		if e.Pod != "" && e.Pod != "/" {
			out = append(out, e.Pod)
		}
	}
	slices.Sort(out)
	return out
}

func wantEndpoints(t *testing.T, l *lab.Lab, node string, want []string) {
	t.Helper()
	if got := endpoints(t, l, node); !slices.Equal(got, want) {
		t.Errorf("endpoints of %s: %v, want %v", node, got, want)
	}
}

func endpointOf(t *testing.T, l *lab.Lab, node, pod string) agent.Endpoint {
	t.Helper()
	for _, e := range get[[]agent.Endpoint](t, l, node, agent.PathEndpoints) {
		if e.Pod == "default/"+pod {
			return e
		}
	}
	t.Fatalf("%s has no endpoint of pod %s", node, pod)
	return agent.Endpoint{}
}
