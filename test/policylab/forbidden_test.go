package policylab

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"weir/lab"
)

// wall lets a reach the servers and nobody else. The same in other words, so
// that one can take the place of another.
var walls = []string{
	netpol + "metadata: {name: wall}\nspec: {podSelector: {matchLabels: {role: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]}\n",
	netpol + "metadata: {name: wall}\nspec:\n  podSelector: {matchExpressions: [{key: role, operator: In, values: [server, new]}]}\n  ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [x, none]}]}}]}]\n",
	netpol + "metadata: {name: wall}\nspec:\n  podSelector: {matchExpressions: [{key: role, operator: Exists}]}\n  ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [a]}, {key: banned, operator: DoesNotExist}]}}], ports: [{port: 7000}, {port: 7000, protocol: UDP}]}]\n",
}

// more are policies that come and go beside it: none allows what it forbids.
var more = []string{
	cnp + "metadata: {name: m1}\nspec: {endpointSelector: {matchLabels: {role: server}}, ingress: [{fromEndpoints: [{matchLabels: {app: a, tier: '1'}}]}]}\n",
	cnp + "metadata: {name: m2}\nspec: {endpointSelector: {matchLabels: {role: server}}, ingressDeny: [{fromEndpoints: [{matchLabels: {app: x}}]}]}\n",
	ccnp + "metadata: {name: m3}\nspec: {endpointSelector: {matchLabels: {app: x}}, egress: [{toEntities: [world]}]}\n",
	cnp + "metadata: {name: m4}\nspec: {endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {app: a}}]}]}\n",
}

var probeLabs = []*kind{probeVXLAN, probeNative}

// enough is how many forbidden packets each siege sends at least.
const enough = 1500

// looks sees one more label of a and x, and allows nothing.
const looks = cnp + "metadata: {name: looks%d}\nspec: {endpointSelector: {matchLabels: {name: nobody}}, ingress: [{fromEndpoints: [{matchLabels: {l%d: v}}]}]}\n"

// siege probes b and c from x, which the wall forbids, while a talks to both;
// what happens meanwhile, once or more often, must neither let a packet of x in nor
// lose one of a.
func (c *cluster) siege(t *testing.T, meanwhile func()) {
	t.Helper()
	servers := []string{"b", "c"}
	var to []netip.Addr
	before := map[string]int{}
	for _, s := range servers {
		to = append(to, c.addr(t, s, true), c.addr(t, s, false))
		before[s], _ = c.tap(t, s).begin(forbidden)
	}
	var allowed []*stream
	var names []string
	for _, s := range servers {
		for _, network := range []string{"tcp", "udp"} {
			for _, is4 := range []bool{true, false} {
				allowed = append(allowed, c.startStream(t, network, "a", s, is4, 7000))
				names = append(names, fmt.Sprintf("%s from a to %s, IPv4 %v", network, s, is4))
			}
		}
	}
	since := c.lastDrops(t)
	p := c.probe(t, "x", 0, to...)
	for p.sent.Load() < enough {
		meanwhile()
	}
	p.end()
	for _, s := range allowed {
		s.halt()
	}
	for i, s := range allowed {
		if err := s.finish(); err != nil {
			t.Errorf("allowed flow, %s: %v", names[i], err)
			c.tellDrops(t, "a", since)
		}
	}
	for _, s := range servers {
		if n, _ := c.tap(t, s).begin(forbidden); n > before[s] {
			t.Errorf("server %s: %s", s, c.tap(t, s).leaks())
		}
	}
	t.Logf("%d forbidden packets sent, %d records echoed in %d flows", p.sent.Load(), allowed[0].echoed.Load(), len(allowed))
}

func TestNothingForbiddenPassesWhilePoliciesChange(t *testing.T) {
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		c.apply(t, walls[0])
		c.siege(t, func() {
			for i := range 6 { // replaced without waiting: the one before counts until the next does
				c.put(t, walls[i%len(walls)])
			}
			for _, m := range more {
				c.put(t, m)
			}
			for i := range 3 {
				c.put(t, walls[i])
				c.unput(t, more[i])
				c.put(t, more[i])
			}
			for _, m := range more {
				c.remove(t, m)
			}
		})
	})
}

func TestNothingForbiddenPassesWhenOnePolicyTakesThePlaceOfAnother(t *testing.T) {
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		second := func(i int) string { // a label of its own: identities have to learn it first
			return netpol + fmt.Sprintf("metadata: {name: next%d}\nspec:\n  podSelector: {matchExpressions: [{key: fresh%d, operator: DoesNotExist}, {key: role, operator: Exists}]}\n"+
				"  ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]\n", i, i)
		}
		c.apply(t, walls[0])
		c.siege(t, func() {
			last := walls[0]
			for i := range 12 {
				c.put(t, second(i))
				c.unput(t, last)
				last = second(i)
			}
			c.put(t, walls[0])
			c.unput(t, last)
		})
	})
}

// TestNothingForbiddenPassesWhileAgentsDie: nor is anything lost, though an agent that
// starts does not know the numbers that pods had by labels which policies saw a moment
// ago only.
func TestNothingForbiddenPassesWhileAgentsDie(t *testing.T) {
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		c.apply(t, walls[0])
		for i := range 6 {
			c.enforce(t, fmt.Sprintf(looks, i, i))
		}
		for i := range 6 {
			c.remove(t, fmt.Sprintf(looks, i, i))
		}
		before := c.own(t, "a").Identity
		defer func() { t.Logf("a had identity %d, and has %d", before, c.own(t, "a").Identity) }()
		c.siege(t, func() {
			for i := range 6 {
				node := nodes[i%2]
				for _, do := range []lab.AgentAction{lab.AgentKill, lab.AgentStart} {
					if err := c.Agent(t.Context(), node, do); err != nil {
						t.Fatalf("%s the agent of %s: %v", do, node, err)
					}
				}
			}
		})
	})
}

func TestNothingForbiddenPassesWhileNodesChange(t *testing.T) {
	const node = "apiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {round: '%d'}}\n"
	const stranger = "apiVersion: cilium.io/v2\nkind: CiliumNode\nmetadata: {name: n9}\nspec:\n" +
		"  addresses: [{type: InternalIP, ip: 172.18.0.99}, {type: InternalIP, ip: 'fc00:f853:ccd:e793::99'}]\n  ipam: {podCIDRs: [10.99.%d.0/24, 'fd00::99%d:0/120']}\n"
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		c.apply(t, walls[0])
		c.siege(t, func() {
			for i := range 20 {
				c.put(t, fmt.Sprintf(node, nodes[i%2], i))
				c.put(t, fmt.Sprintf(stranger, i, i))
				if i%2 == 1 {
					c.unput(t, fmt.Sprintf(stranger, i, i))
				}
			}
			c.unput(t, fmt.Sprintf(node, nodes[0], 0))
			c.unput(t, fmt.Sprintf(node, nodes[1], 0))
		})
	})
}

// TestNothingAllowedIsLostWhileLabelsChange: a gets another identity each time, of
// which each node learns at a moment of its own.
func TestNothingAllowedIsLostWhileLabelsChange(t *testing.T) {
	const wall = netpol + "metadata: {name: wall}\nspec:\n  podSelector: {matchLabels: {role: server}}\n" +
		"  ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [a]}, {key: round, operator: NotIn, values: [none]}]}}]}]\n"
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a, l0: a, l1: a, l2: a, l3: a, l4: a, l5: a%s}}\n" +
		"spec: {nodeName: n1, containers: [{name: c, command: [sleep, infinity]}]}\n"
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		c.apply(t, wall)
		c.settle(t)
		c.siege(t, func() {
			for i := range 40 {
				c.put(t, fmt.Sprintf(pod, fmt.Sprintf(", round: r%d", i)))
			}
		})
		c.put(t, fmt.Sprintf(pod, ""))
		c.settle(t)
	})
}

// newPod is a server that only a may reach.
func newPod(name, node string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {role: server}}\nspec: {nodeName: %s, containers: [{name: c, command: [sleep, infinity]}]}\n", name, node)
}

// next returns the addresses that the node's next pods may get.
func (c *cluster) next(t *testing.T, node string, howMany int) []netip.Addr {
	t.Helper()
	n, err := c.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	used := map[netip.Addr]bool{}
	pods, err := c.Pods()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		for _, ip := range p.IPs {
			used[ip] = true
		}
	}
	var out []netip.Addr
	for _, cidr := range n.PodCIDRs {
		last := cidr.Addr()
		for a := range used {
			if cidr.Contains(a) && last.Less(a) {
				last = a
			}
		}
		for range howMany {
			last = last.Next()
			out = append(out, last)
		}
	}
	return out
}

func TestNothingForbiddenReachesAPodThatIsBeingMade(t *testing.T) {
	const each = 3
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		c.apply(t, walls[0])
		var to []netip.Addr
		for _, node := range nodes {
			to = append(to, c.next(t, node, 2*each)...)
		}
		var probers []*prober
		for i, from := range []string{"x", "o"} {
			probers = append(probers, c.probe(t, from, i+1, to...))
		}
		taps := map[string]*tap{}
		for i := range each {
			for _, node := range nodes {
				name := fmt.Sprintf("new%d-%s", i, node)
				taps[name] = c.makeWatched(t, name, node)
				for _, ip := range c.pod(t, name).IPs {
					if !slices.Contains(to, ip) {
						t.Errorf("pod %s got %s, which was not probed: %v", name, ip, to)
					}
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(taps)) {
			for _, is4 := range []bool{true, false} {
				s := c.startStream(t, "tcp", "a", name, is4, 7000) // else nothing at all might arrive
				if !await(patience, func() bool { return s.echoed.Load() > 20 }) {
					t.Errorf("a talks to %s: %d records came back", name, s.echoed.Load())
				}
				if err := s.finish(); err != nil {
					t.Errorf("a talks to %s: %v", name, err)
				}
			}
		}
		for _, p := range probers {
			p.end()
			t.Logf("%d forbidden packets sent to %d addresses", p.sent.Load(), len(to))
		}
		for name, p := range taps {
			if text := p.leaks(); text != "" {
				t.Errorf("pod %s: %s", name, text)
			}
			p.close()
		}
		if err := c.DeletePods(t.Context(), slices.Collect(maps.Keys(taps))...); err != nil {
			t.Error(err)
		}
	})
}

// makeWatched makes a pod and listens in its namespace from before it has an
// interface.
func (c *cluster) makeWatched(t *testing.T, name, node string) *tap {
	t.Helper()
	path := "/run/netns/weir-" + c.kind.name + "-default-" + name
	made := make(chan error, 1) // 1: the maker need not wait
	go func() {
		made <- c.ApplyYAML(t.Context(), "pod.yaml", []byte(newPod(name, node))).Err()
	}()
	var p *tap
	opened := await(patience, func() bool {
		if _, err := os.Stat(path); err != nil {
			return false
		}
		var err error
		p, err = openTap(path, false) // the name exists a moment before the namespace
		return err == nil
	})
	if err := <-made; err != nil || !opened {
		t.Fatalf("make pod %s: %v; listening in %s: %v", name, err, path, opened)
	}
	if strings.Contains(p.leaks(), "arrived") {
		t.Logf("pod %s was reached while it was made", name)
	}
	return p
}

// TestADenialHoldsWhileIdentitiesChange: nothing but the denial keeps x out, so
// a moment in which nobody knows what x's number means would let it in.
func TestADenialHoldsWhileIdentitiesChange(t *testing.T) {
	const wall = cnp + "metadata: {name: wall}\nspec:\n  endpointSelector: {matchLabels: {role: server}}\n  ingress: [{fromEntities: [all]}]\n  ingressDeny: [{fromEndpoints: [{matchLabels: {app: x}}]}]\n"
	inBoth(t, probeLabs, func(t *testing.T, c *cluster) {
		c.apply(t, wall)
		c.settle(t)
		c.siege(t, func() {
			for i := range 6 { // each splits the identities of x and a anew
				c.enforce(t, fmt.Sprintf(looks, i, i))
			}
			c.settle(t)
			for i := range 6 {
				c.remove(t, fmt.Sprintf(looks, i, i))
			}
		})
	})
}
