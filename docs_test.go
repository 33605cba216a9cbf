package weir_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/agent/config"
	"weir/bpf"
)

var update = flag.Bool("update", false, "write the generated parts of docs")

// ends says of each reason which programs give it, what it means, and what to
// do about it: docs/drops.md is made of it.
var ends = map[bpf.Reason][3]string{
	bpf.ReasonToEndpoint:      {"from_pod to_pod from_overlay from_netdev from_host", "redirected into a pod of this node", ""},
	bpf.ReasonToOverlay:       {"from_pod from_host", "redirected into the tunnel, to another node", ""},
	bpf.ReasonToNetwork:       {"from_pod from_netdev from_xdp", "redirected to a neighbour on the underlay, by the kernel's routing table", ""},
	bpf.ReasonToStack:         {"from_pod", "left to the host's stack to route: legacy host routing, or the routing table alone cannot tell the way", ""},
	bpf.ReasonToHost:          {"from_pod from_overlay from_netdev to_host", "for an address of this node: the host's stack delivers it", ""},
	bpf.ReasonPassed:          {"to_pod to_overlay from_netdev to_netdev from_xdp", "seen and let on without judging it; by from_xdp: left to from_netdev", ""},
	bpf.ReasonARPAnswered:     {"from_pod from_netdev", "the gateway's MAC was answered; by from_netdev: this node's for an address of a service (docs/l2announce.md)", ""},
	bpf.ReasonNDPAnswered:     {"from_pod from_netdev", "the same, IPv6", ""},
	bpf.ReasonLinkChatter:     {"from_pod to_pod from_host", "MLD, IGMP, router solicitation, duplicate address detection, gratuitous ARP: of the link only, nobody else needs it", ""},
	bpf.ReasonVLANBypassed:    {"from_netdev", "a VLAN that the configuration lets pass", ""},
	bpf.ReasonFragmented:      {"from_pod", "too big for the way, and may be fragmented: left to the host's stack for that", "nothing; a sender that heeds the route's MTU is faster"},
	bpf.ReasonReset:           {"any", "an answer, beside the drop that it is the answer to: policy rejects, and the sender gets a TCP RST", "see docs/policy.md, reject"},
	bpf.ReasonProhibited:      {"any", "the same by ICMP \"administratively prohibited\"", "see docs/policy.md, reject"},
	bpf.ReasonTooBig:          {"any", "beside \"Fragmentation needed\": a first packet for a service whose backend's node is to answer has no room for what tells that node so, and the sender gets the size that has (ICMP type 3 code 4, or packet too big)", "nothing: path MTU discovery works"},
	bpf.ReasonEventLost:       {"any", "an event of a drop, or of a new connection, that nobody will see, because the agent does not read fast enough; it counts events, and no octets", "nothing: the packet is counted under its own reason, too; or raise `bpf.eventsSize`"},
	bpf.ReasonTraceLost:       {"any", "an event of a packet that was let through, and of no new connection, that nobody will see, likewise", "nothing, or raise `bpf.tracesSize`, or `bpf.monitorAggregation`: docs/events.md"},
	bpf.ReasonSocketConnected: {"socket", "a socket that named a service is connected to one of its backends", ""},
	bpf.ReasonSocketSent:      {"socket", "the same for a datagram of a socket that is not connected", ""},
	bpf.ReasonSocketClosed:    {"socket", "a socket that was connected so is closed", ""},
	bpf.ReasonSocketEnded:     {"socket", "a socket that was connected so was ended: its backend is no more, and its process gets ECONNABORTED", ""},
	bpf.ReasonSocketUnnoted:   {"socket", "`weir_socket_users` is full: the agent looks through all pods for sockets of backends that are no more", "nothing: it costs the agent's time only"},
	bpf.DropNoBackend:         {"from_pod from_netdev from_host", "the service has no backend for this client: none is ready, or a traffic policy leaves none; without one for anybody the client is told. Of a backend: its node has forgotten which service was asked", "`weir service get` says of each endpoint why it is not used"},
	bpf.DropNATPorts:          {"from_pod from_netdev", "every port of this node is in use for the destination", "`weir nat list`; more destinations or more nodes share the load"},
	bpf.DropNATProtocol:       {"from_pod from_netdev", "a protocol without ports cannot be translated", "use TCP, UDP, SCTP or ping"},
	bpf.DropClusterIP:         {"from_netdev", "from outside of the cluster for an address that is for the cluster only", "use a NodePort or LoadBalancer service"},
	bpf.DropSourceRange:       {"from_netdev", "the client is outside of the service's loadBalancerSourceRanges", "`weir service get` shows the ranges"},
	bpf.DropPolicy:            {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "an end is isolated in this direction, and no rule allows the connection", "`weir drops` names the policies and the rule that came nearest; `weir policy explain`"},
	bpf.DropPolicyDeny:        {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "a deny rule matches", "`weir drops` names the policy; `weir policy explain`"},
	bpf.DropNoPolicy:          {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "the policy of the endpoint is not in the maps: it is being made, or has gone", "`weir policy get ENDPOINT`; if it lasts, the agent's log"},
	bpf.DropCTFull:            {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "the table of connections is full and has grown to its limit; known connections go on", "`weir ct list` for who has so many; raise `bpf.ctLimit`"},
	bpf.DropFragment:          {"from_pod to_pod from_overlay from_netdev to_netdev from_host", "a later fragment, whose first one was not seen or is forgotten", "nothing if rare; otherwise look for the path that loses fragments, or send smaller packets"},
	bpf.DropInvalidSourceIP:   {"from_pod from_overlay from_netdev", "the source address is not the pod's own (spoofed, or an address the pod gave itself); or it is this node's, and the packet came from elsewhere; or it is another node's pod's, and the packet for a pod did not come through the tunnel", "look at what runs in the pod, or who on the underlay sends as others; addresses come from `weir endpoint list`"},
	bpf.DropInvalidPacket:     {"from_pod to_pod from_overlay from_netdev from_host", "truncated, lengths that do not agree, wrong version, or an IPv4-mapped IPv6 address on the wire", "look at the sender; capture on the device"},
	bpf.DropFragNeeded:        {"from_pod from_netdev", "too big for the way, and must not be fragmented; the host's stack answers with ICMP (type 3 code 4, or packet too big)", "nothing: path MTU discovery works; if senders ignore it, see docs/node.md"},
	bpf.DropUnsupportedL3:     {"from_pod to_pod from_overlay from_host", "IPv4 or IPv6, and the family is switched off", "set `ipv4.enabled` or `ipv6.enabled`, or stop the sender"},
	bpf.DropWriteError:        {"from_pod to_pod from_overlay from_netdev from_host from_xdp", "the packet could not be rewritten or redirected", "should not happen; report it with `weir status --verbose`"},
	bpf.DropTunnelKey:         {"from_pod from_overlay from_host", "the tunnel's metadata could not be set or read: something else sends on weir_vxlan", "look for who uses the device"},
	bpf.DropUnknownTarget:     {"from_pod to_pod from_overlay", "loopback, unspecified or link-local destination, ARP or NDP for a stranger, or a packet at the wrong pod's device", "look at the sender"},
	bpf.DropUnroutable:        {"from_pod from_host", "in a pod CIDR that is routed here, and no pod has the address: it has gone, or never was", "the sender remembers an old address; check its DNS answer"},
	bpf.DropNoEndpoint:        {"from_overlay", "came through the tunnel for no pod and no address of this node", "the sending node is behind: compare `weir ip get ADDRESS` on both"},
	bpf.DropUnsupportedL2:     {"from_pod to_pod from_overlay", "neither IPv4, IPv6 nor ARP", "nothing, unless a pod needs it: Weir carries IP only"},
	bpf.DropFIB:               {"from_pod", "the host's routing table says unreachable, prohibited or black hole; the stack answers with ICMP", "`ip route get` on the node"},
	bpf.DropVLAN:              {"from_pod from_netdev", "tagged frame of a VLAN that is not allowed", "name it in `bpf.vlanBypass`"},
	bpf.DropTTLExceeded:       {"from_pod from_overlay from_netdev", "TTL or hop limit used up; the host's stack answers with time exceeded", "nothing after a traceroute; otherwise look for a routing loop"},
	bpf.DropHostNotReady:      {"from_pod from_host", "weir_ipcache is empty: the agent has not run yet", "start the agent; `weir status`"},
	bpf.DropPodNotReady:       {"from_pod to_pod from_overlay from_netdev from_host", "the pod's row is not in weir_endpoints: it is being made or has gone", "`weir endpoint list`; if it lasts, the agent's log"},
	bpf.DropTunnelSource:      {"from_overlay", "the node that sent it is not the one that has the inner sender: a forged packet, or one of a node that is not known here yet", "`weir ip get ADDRESS` of the sender says which node it should come from; look for who else reaches UDP 8472"},
	bpf.DropDSR:               {"from_overlay from_netdev", "an option says that a service was asked at another node (docs/service.md, DSR), and that cannot be true: no service is open to the outside at that address and port, the client is a member of the cluster, or there is a tunnel and it came past it", "compare `weir service list` on both nodes: one may be behind; otherwise look for who on the underlay makes such packets up"},
	bpf.DropMulticast:         {"from_pod", "pods have no multicast routing", "use unicast"},
}

const reasonMark = "<!-- made from bpf.Reason by `go test -run TestDropsPage . -update` -->\n"

func TestDropsPageHasEveryReason(t *testing.T) {
	var b strings.Builder
	b.WriteString(reasonMark + "\n| Number | Text | Programs | What it means | What to do |\n|---|---|---|---|---|\n")
	for n := range 256 {
		r := bpf.Reason(n)
		e, ok := ends[r]
		known := r != bpf.ReasonNone && !strings.HasPrefix(r.String(), "Reason ")
		if known != ok {
			t.Errorf("reason %d (%s): known to bpf %v, explained here %v", n, r, known, ok)
		}
		if !ok {
			continue
		}
		todo := e[2]
		if !r.Drop() && todo == "" {
			todo = "–"
		}
		if todo == "" {
			t.Errorf("drop %d (%s) does not say what to do", n, r)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", n, r, strings.ReplaceAll(e[0], " ", ", "), e[1], todo)
	}
	const page = "docs/drops.md"
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(old), reasonMark)
	if !ok {
		t.Fatalf("%s has no line %q", page, reasonMark)
	}
	want := before + b.String()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(old) {
		t.Errorf("%s is not up to date: run `go test -run TestDropsPage . -update`", page)
	}
}

// seedRows are the behaviours that docs/coverage.md accounts for: the letter of
// a chapter and how many rows it has.
var seedRows = []struct {
	letter string
	rows   int
}{
	{"A", 7}, {"B", 37}, {"C", 9}, {"D", 9}, {"E", 9}, {"F", 12}, {"G", 16}, {"H", 22},
	{"I", 9}, {"J", 15}, {"K", 7}, {"L", 3}, {"M", 14}, {"N", 4},
}

var (
	coverageLine = regexp.MustCompile(`^\| ([A-N]\d+) \| (.*?) \| (.*) \|$`)
	testName     = regexp.MustCompile("`(Test[A-Za-z0-9_]*)[^`]*`")
	scriptName   = regexp.MustCompile("`([^`]*\\.txtar)`")
	testFunc     = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]*)\(`)
)

func TestCoverageHasEveryRowOnceAndCitesWhatExists(t *testing.T) {
	page, err := os.ReadFile("docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, scripts := testsAndScripts(t)
	cited := map[string]string{}
	for line := range strings.Lines(string(page)) {
		m := coverageLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		if _, twice := cited[m[1]]; twice {
			t.Errorf("row %s stands twice", m[1])
		}
		cited[m[1]] = m[2]
		names, files := testName.FindAllStringSubmatch(m[2], -1), scriptName.FindAllStringSubmatch(m[2], -1)
		if len(names)+len(files) == 0 && m[2] != "not yet" {
			t.Errorf("row %s cites neither a test nor a script, nor says \"not yet\": %s", m[1], m[2])
		}
		for _, n := range names {
			if !tests[n[1]] {
				t.Errorf("row %s cites %s, which does not exist", m[1], n[1])
			}
		}
		for _, f := range files {
			if !scripts[filepath.Base(f[1])] {
				t.Errorf("row %s cites %s, which does not exist", m[1], f[1])
			}
		}
	}
	total := 0
	for _, c := range seedRows {
		total += c.rows
		for i := 1; i <= c.rows; i++ {
			if _, ok := cited[fmt.Sprint(c.letter, i)]; !ok {
				t.Errorf("row %s%d is missing", c.letter, i)
			}
		}
	}
	if len(cited) != total {
		t.Errorf("%d rows, want %d", len(cited), total)
	}
}

// testsAndScripts are the names of every test function and txtar file of the tree.
func testsAndScripts(t *testing.T) (tests, scripts map[string]bool) {
	t.Helper()
	tests, scripts = map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".txtar"):
			scripts[d.Name()] = true
		case strings.HasSuffix(path, "_test.go"):
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range testFunc.FindAllStringSubmatch(string(src), -1) {
				tests[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, scripts
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinksOfThePagesLead(t *testing.T) {
	pages, _ := filepath.Glob("docs/*.md")
	top, _ := filepath.Glob("*.md")
	for _, page := range append(pages, top...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: link to %s leads nowhere", page, m[1])
			}
		}
	}
}

func TestConfigurationPageHasEveryKeyAndNoOther(t *testing.T) {
	page, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = true
	}
	for _, o := range config.Defaults().Options() {
		if !documented[o.Key] {
			t.Errorf("docs/configuration.md does not have the key %s", o.Key)
		}
		delete(documented, o.Key)
	}
	for k := range documented {
		t.Errorf("docs/configuration.md has %s, which is no key", k)
	}
}
