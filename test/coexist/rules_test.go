package coexist

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/lab"
)

// rules are what kube-proxy writes in iptables mode for one service, in short:
// backends by chance, masquerading of what comes from outside, and its rule
// against packets whose connection conntrack has not seen all of.
func rules(clusterIP netip.Addr, servers []netip.Addr, pods netip.Prefix) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("*nat")
	for _, chain := range []string{"T-SERVICES", "T-WEB", "T-POSTROUTING"} {
		line(":%s - [0:0]", chain)
	}
	line("-A PREROUTING -j T-SERVICES")
	line("-A OUTPUT -j T-SERVICES")
	line("-A POSTROUTING -j T-POSTROUTING")
	line("-A T-SERVICES -d %s -p tcp --dport %d ! -s %s -j MARK --set-mark 0x4000/0x4000", clusterIP, port, pods)
	line("-A T-SERVICES -d %s -p tcp --dport %d -j T-WEB", clusterIP, port)
	line("-A T-SERVICES -m addrtype --dst-type LOCAL -p tcp --dport %d -j MARK --set-mark 0x4000/0x4000", nodePort)
	line("-A T-SERVICES -m addrtype --dst-type LOCAL -p tcp --dport %d -j T-WEB", nodePort)
	for i, s := range servers {
		chance := ""
		if left := len(servers) - i; left > 1 {
			chance = fmt.Sprintf(" -m statistic --mode random --probability %.5f", 1/float64(left))
		}
		line("-A T-WEB -p tcp%s -j DNAT --to-destination %s", chance, netip.AddrPortFrom(s, 80))
	}
	line("-A T-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE")
	line("COMMIT\n*filter\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT")
	return b.String()
}

// Rules of kube-proxy's kind, beside Weir in each routing mode.
func TestServicesOfTheHostsRulesWorkAndStay(t *testing.T) {
	for _, mode := range []string{"vxlan", "native"} {
		t.Run(mode, func(t *testing.T) {
			c := raise(t, "rules", mode)
			for _, n := range c.nodes(t) {
				for is4, restore := range map[bool]string{true: "iptables-restore", false: "ip6tables-restore"} {
					pods := netip.MustParsePrefix("10.0.0.0/8")
					if !is4 {
						pods = netip.MustParsePrefix("fd00::/104")
					}
					text := rules(c.clusterIP(t, is4), c.servers(t, is4), pods)
					c.run(t, n.Name, "sh", "-c", restore+" --noflush <<'END'\n"+text+"END")
				}
			}
			c.leavesServices(t)
			before := map[string]string{}
			for _, n := range c.nodes(t) {
				before[n.Name] = c.ruleset(t, n.Name)
			}
			c.serves(t)
			if err := c.Agent(t.Context(), "n1", lab.AgentRestart); err != nil {
				t.Fatal(err)
			}
			c.serves(t)
			for _, n := range c.nodes(t) {
				if after := c.ruleset(t, n.Name); after != before[n.Name] || !strings.Contains(after, "T-WEB") {
					t.Errorf("rules of %s were\n%s\nand are\n%s", n.Name, before[n.Name], after)
				}
			}
		})
	}
}

// A policy of the server counts for clients that come by a service, by their own
// identity.
func TestPolicyHoldsForWhatTheHostsRulesTranslate(t *testing.T) {
	c := raise(t, "policy", "vxlan")
	for _, n := range c.nodes(t) {
		text := rules(c.clusterIP(t, true), c.servers(t, true), netip.MustParsePrefix("10.0.0.0/8"))
		c.run(t, n.Name, "sh", "-c", "iptables-restore --noflush <<'END'\n"+text+"END")
	}
	at := netip.AddrPortFrom(c.clusterIP(t, true), port)
	policy := func(label string) {
		t.Helper()
		text := fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec:\n"+
			"  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {run: %s}}}]}]\n", label)
		if err := c.ApplyYAML(t.Context(), "policy.yaml", []byte(text)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	once := func(failed bool) func() bool {
		return func() bool { return hasFailed(c.ask(t, "client", at, 4)) == failed }
	}
	eventually(t, "an answer", 5*time.Second, once(false))
	policy("somebody-else")
	eventually(t, "the policy is in force", 15*time.Second, func() bool {
		got := c.ask(t, "client", at, 2)
		return len(got) == 1 && hasFailed(got)
	})
	policy("client")
	eventually(t, "the client is allowed", 15*time.Second, once(false))
}

// The device of a node-local DNS, with its address of 169.254.0.0/16, is the
// node's: pods reach who listens there.
func TestPodsReachANodeLocalAddressOfAForeignDevice(t *testing.T) {
	c := raise(t, "local", "vxlan")
	c.run(t, "n1", "sh", "-c", "ip link add nodelocaldns type ifb && ip addr add 169.254.25.10/32 dev nodelocaldns && ip link set nodelocaldns up")
	const server = `
apiVersion: v1
kind: Pod
metadata: {name: dns}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: c, image: nginx, ports: [{containerPort: 8053}]}]}
`
	if err := c.ApplyYAML(t.Context(), "dns.yaml", []byte(server)).Err(); err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("169.254.25.10:8053")
	eventually(t, "the pod is answered", 10*time.Second, func() bool { return c.ask(t, "client", at, 1)["dns"] == 1 })
	c.run(t, "n1", "ip", "link", "show", "nodelocaldns")
	if err := c.Agent(t.Context(), "n1", lab.AgentRestart); err != nil {
		t.Fatal(err)
	}
	if got := c.run(t, "n1", "ip", "-4", "addr", "show", "dev", "nodelocaldns"); !strings.Contains(got, "169.254.25.10/32") {
		t.Errorf("after a restart of the agent the device is\n%s", got)
	}
}
