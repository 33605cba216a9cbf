package policylab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
	"weir/datapath/link/linktest"
)

const (
	allow80 = netpol + "metadata: {name: seen}\nspec:\n  podSelector: {matchLabels: {role: server}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 80, protocol: UDP}]}]\n"
	all     = netpol + "metadata: {name: seen}\nspec: {podSelector: {matchLabels: {role: server}}, ingress: [{}]}\n"
)

// TestRowB22TheRuleCountsWhatItAllows and what it does not allow is counted as
// dropped, packet for packet (row B19).
func TestRowB22TheRuleCountsWhatItAllows(t *testing.T) {
	const n = 25
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, allow80)
		c.settle(t)
		for _, to := range []string{"b", "c"} {
			eachFamily(t, func(t *testing.T, is4 bool) {
				node := c.pod(t, to).Node
				before, dropped := c.rule(t, to), c.dropCount(t)
				g := newGun(t, c.netns(t, "a"))
				last := ""
				for i := range n {
					for _, port := range []uint16{80, 81} {
						last = fmt.Sprintf("%s%08x", mark, serial.Add(1))
						s := shot{src: c.addr(t, "a", is4), dst: c.addr(t, to, is4), proto: "udp", sport: uint16(10000 + i), dport: port, payload: last}
						if err := g.shoot(s); err != nil {
							t.Fatal(err)
						}
					}
				}
				if !await(patience, func() bool { return c.dropCount(t) >= dropped+n }) || c.dropCount(t) != dropped+n {
					t.Errorf("%s: %d dropped, want %d", to, c.dropCount(t)-dropped, n)
				}
				after := c.rule(t, to)
				size := uint64(14 + 20 + 8 + len(last))
				if !is4 {
					size += 20
				}
				if after.Packets-before.Packets != n || after.Bytes-before.Bytes != n*size {
					t.Errorf("%s on %s: rule %q counted %d packets, %d bytes; want %d, %d", to, node, after.Port, after.Packets-before.Packets, after.Bytes-before.Bytes, n, n*size)
				}
			})
		}
	})
}

// rule returns the one ingress rule of a pod that is not built in, as `weir
// policy get` shows it.
func (c *cluster) rule(t *testing.T, pod string) agent.EffectiveRule {
	t.Helper()
	p := c.pod(t, pod)
	e := weirJSON[agent.EndpointPolicy](t, c, p.Node, "policy", "get", p.Key())
	builtIn := func(r agent.EffectiveRule) bool { return strings.HasPrefix(strings.Join(r.Origin, ""), "built-in") }
	own := slices.DeleteFunc(slices.Clone(e.Ingress.Rules), builtIn)
	if len(own) != 1 || len(e.Ingress.Rules) != 2 || len(e.Egress.Rules) != 0 || !e.Ingress.Enforced {
		t.Fatalf("policy of %s: %+v, want one ingress rule beside the own host's", pod, e)
	}
	return own[0]
}

// dropCount is how many packets policy has dropped on all nodes.
func (c *cluster) dropCount(t *testing.T) (n uint64) {
	t.Helper()
	for _, node := range nodes {
		for _, m := range get[[]agent.Metric](t, c, node, agent.PathMetrics) {
			if m.Reason == "Policy denied" {
				n += m.Packets
			}
		}
	}
	return n
}

// TestRowB21AnAllowIsOneRow, on one port or for everybody.
func TestRowB21AnAllowIsOneRow(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		for policy, want := range map[string]struct{ peer, port string }{allow80: {"k8s:app", "80/UDP"}, all: {"everybody", "ANY"}} {
			t.Run(want.port, func(t *testing.T) {
				c.apply(t, policy)
				r := c.rule(t, "b")
				if !strings.Contains(r.Peer, want.peer) || r.Port != want.port || r.Action != "allow" || !slices.Equal(r.Origin, []string{"NetworkPolicy default/seen spec.ingress[0]"}) {
					t.Errorf("rule %+v, want %+v", r, want)
				}
				if rows := get[agent.MapDump](t, c, "n1", agent.PathMaps+"/weir_policy_rules").Rows; len(rows) != 2 { // and the own host's
					t.Errorf("weir_policy_rules has %d rows: %v", len(rows), rows)
				}
			})
		}
	})
}

// TestRowB8OneEntryForATransfer with the bytes of both ways, gone within the
// time for closing connections and two sweeps after the FINs: one voids an idle entry,
// the next one takes it out.
func TestRowB8OneEntryForATransfer(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, strings.Replace(allow80, "port: 80, protocol: UDP", "port: 7080", 1))
		c.settle(t)
		ends := map[string]string{}
		for _, is4 := range []bool{true, false} {
			at := c.echoServer(t, "c", is4, 7080)
			if err := c.exchange(t, "a", at, 20_000); err != nil {
				t.Fatal(err)
			}
			source := c.addr(t, "a", is4).String()
			if !is4 {
				source = "[" + source + "]"
			}
			ends[source] = at.String()
		}
		for source, dest := range ends {
			for _, node := range nodes {
				list := c.transfers(t, node, source, dest)
				if len(list) != 1 {
					t.Fatalf("%s has %d entries from %s to %s: %+v", node, len(list), source, dest, list)
				}
				e := list[0]
				if e.State != "closing" || e.Sent.Bytes < 20_000 || e.Answered.Bytes < 20_000 || e.Sent.Bytes > 25_000 || e.Expires > 10*time.Second {
					t.Errorf("%s: %+v", node, e)
				}
				if (e.Ingress != 0) != (node == "n2") { // the server's node knows the server's policy
					t.Errorf("%s: rule that allowed the connection: %+v", node, e)
				}
			}
		}
		if c.kind != vxlan {
			return // waiting once is enough
		}
		gone := func() bool {
			for source, dest := range ends {
				if len(c.transfers(t, "n1", source, dest))+len(c.transfers(t, "n2", source, dest)) > 0 {
					return false
				}
			}
			return true
		}
		if !await(25*time.Second, gone) { // 10 s of closing, and a sweep every five to six
			t.Error("closed connections do not go")
		}
	})
}

// TestRowB9PingAndDatagramsHaveEntries of their protocols.
func TestRowB9PingAndDatagramsHaveEntries(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		eachFamily(t, func(t *testing.T, is4 bool) {
			source, dest := c.addr(t, "a", is4), c.addr(t, "c", is4)
			if r := c.Exec(t.Context(), "a", "ping", "-n", "-c1", "-W2", dest.String()); !r.OK() {
				t.Fatalf("ping: %s%s", r.Stdout, r.Stderr)
			}
			s := c.startStream(t, "udp", "a", "c", is4, 5353)
			if !await(patience, func() bool { return s.echoed.Load() > 3 }) {
				t.Fatal("no datagrams come back")
			}
			if err := s.finish(); err != nil {
				t.Error(err)
			}
			var icmp, udp bool
			for _, e := range weirJSON[agent.Connections](t, c, "n1", "ct", "list", "--ip", source.String()).Entries {
				is := func(proto string) bool {
					return e.Proto == proto && e.State == "established" && e.Sent.Packets > 0 && e.Answered.Packets > 0 && strings.Contains(e.Dest, dest.String())
				}
				icmp = icmp || is("ICMPv4") && is4 || is("ICMPv6") && !is4
				udp = udp || is("UDP") && strings.HasSuffix(e.Dest, ":5353")
			}
			if !icmp || !udp {
				text, _ := c.weir(t, "n1", "ct", "list")
				t.Errorf("entry of the ping %v, of the datagrams %v:\n%s", icmp, udp, text)
			}
		})
	})
}

// TestRowB13FragmentsFollowThePolicyOfTheirPort: only the first has the ports.
func TestRowB13FragmentsFollowThePolicyOfTheirPort(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, allow80)
		c.settle(t)
		for _, to := range []string{"b", "c"} {
			eachFamily(t, func(t *testing.T, is4 bool) {
				for _, port := range []uint16{80, 81} {
					err := c.datagram(t, to, is4, port, 4000)
					if port == 80 && err != nil {
						t.Errorf("4000 octets to port 80 of %s: %v", to, err)
					}
					if port == 81 && !isTimeout(err) {
						t.Errorf("4000 octets to port 81 of %s: %v, want nothing to arrive", to, err)
					}
				}
			})
		}
	})
}

// datagram sends one from a and waits for it.
func (c *cluster) datagram(t *testing.T, to string, is4 bool, port uint16, size int) error {
	t.Helper()
	at := netip.AddrPortFrom(c.addr(t, to, is4), port)
	var server net.PacketConn
	err := linktest.Inside(c.netns(t, to), func() (err error) {
		server, err = net.ListenPacket("udp", at.String())
		return err
	})
	if err != nil {
		return err
	}
	defer server.Close()
	conn, err := c.dial(t, "a", "udp", at.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.Repeat("0123456789", size/10))); err != nil {
		return err
	}
	_ = server.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // fails on a closed socket only
	n, _, err := server.ReadFrom(make([]byte, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("%d of %d octets arrived", n, size)
	}
	return err
}

func TestARefusedVersionIsListedAndTheLastOneStays(t *testing.T) {
	c := on(t, vxlan)
	c.apply(t, allow80)
	file := filepath.Join("/run/weir/lab", c.kind.name, "objects", "networkpolicy_default_seen.yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) {
		next := file + ".next"
		if err := os.WriteFile(next, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, file); err != nil {
			t.Fatal(err)
		}
	}
	// Past the lab, which would refuse it, as an API server with an older schema would not.
	put([]byte(strings.Replace(string(good), "port: 80", "port: 80000", 1)))
	defer put(good)
	var p agent.Policy
	refused := await(patience, func() bool {
		p = c.policies(t, "n1")["NetworkPolicy default/seen"]
		return p.State == "refused"
	})
	if !refused || !strings.Contains(p.Message, "spec.ingress[0].ports[0].port") || !strings.Contains(p.Message, "80000") || len(p.Endpoints) == 0 {
		t.Errorf("listed as %+v", p)
	}
	if text, code := c.weir(t, "n1", "policy", "list"); !strings.Contains(text, "spec.ingress[0].ports[0].port") {
		t.Errorf("weir policy list, exit code %d:\n%s", code, text)
	}
	c.judge(t, `
		a>b udp/80 arrives
		a>b udp/81 never`)
}
