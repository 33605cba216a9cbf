package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"weir/api/agent"
	"weir/bpf"
	"weir/lab"
)

func TestRowA4EveryPinnedMapOpensAndIsListed(t *testing.T) {
	l := vxlanLab(t)
	byPin := map[string]agent.Map{}
	for _, m := range get[[]agent.Map](t, l, "n1", agent.PathMaps) {
		byPin[m.Pin] = m
	}
	n := node(t, l, "n1")
	held := mapPins(pins(t, n))
	if len(held) < 3 || len(held) != len(byPin) {
		t.Errorf("pinned maps %v, listed maps %v", held, byPin)
	}
	for name, id := range held {
		pin := filepath.Join(tree(n), name)
		if byPin[pin].ID != id {
			t.Errorf("%s has id %d, listed is %+v", pin, id, byPin[pin])
		}
		run(t, l, "n1", "bpftool", "map", "show", "pinned", pin)
	}
}

func TestRowA5LinksArePinnedByDeviceAndEndpoint(t *testing.T) {
	l := vxlanLab(t)
	have := pins(t, node(t, l, "n1"))
	id := endpointOf(t, l, "n1", "a").ID
	for _, want := range []string{
		"links/devices/eth0/from_netdev", "links/devices/eth0/to_netdev", "links/devices/weir_host/from_host",
		"links/devices/weir_host/to_host", "links/devices/weir_net/to_host", "links/devices/weir_vxlan/from_overlay",
		"links/devices/weir_vxlan/to_overlay", fmt.Sprintf("links/endpoints/%d/from_pod", id),
	} {
		if have[want] == 0 {
			t.Errorf("no link is pinned at %s; there are %v", want, have)
		}
	}
}

// What holds on kernels below 6.6 too, where there is no tcx.
func TestRowA5LinkFoldersAreEmptyWithFilters(t *testing.T) {
	l := tcLab(t)
	links := filepath.Join(tree(node(t, l, "n1")), "links")
	for _, folder := range []string{
		"devices/eth0", "devices/weir_host", "devices/weir_net", "devices/weir_vxlan",
		fmt.Sprintf("endpoints/%d", endpointOf(t, l, "n1", "a").ID),
	} {
		entries, err := os.ReadDir(filepath.Join(links, folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) != 0 {
			t.Errorf("%s: %v %v, want an empty folder, or none", folder, entries, err)
		}
	}
}

func TestRowG5EachNodeGetsItsPodCIDRs(t *testing.T) {
	l := vxlanLab(t)
	pool4, pool6 := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/104")
	seen := map[string]bool{}
	for _, n := range get[[]agent.Node](t, l, "n1", agent.PathNodes) {
		if len(n.IPv4CIDRs) != 1 || len(n.IPv6CIDRs) != 1 {
			t.Fatalf("node %s: CIDRs %v %v, want one of each family", n.Name, n.IPv4CIDRs, n.IPv6CIDRs)
		}
		c4, c6 := netip.MustParsePrefix(n.IPv4CIDRs[0]), netip.MustParsePrefix(n.IPv6CIDRs[0])
		if c4.Bits() != 24 || c6.Bits() != 120 || !pool4.Contains(c4.Addr()) || !pool6.Contains(c6.Addr()) || seen[c4.String()] {
			t.Errorf("node %s: %s and %s; want a /24 of %s and a /120 of %s of its own", n.Name, c4, c6, pool4, pool6)
		}
		seen[c4.String()] = true
		object := read(t, filepath.Join(filepath.Dir(node(t, l, n.Name).Dir), "objects", "ciliumnode_"+n.Name+".yaml"))
		wantText(t, "CiliumNode "+n.Name, object, "podCIDRs:", "- "+c4.String(), "- "+c6.String())
	}
	for _, p := range []string{"a", "b", "c"} {
		for i, ip := range pod(t, l, p).IPs {
			cidr := node(t, l, pod(t, l, p).Node).PodCIDRs[i]
			if !cidr.Contains(ip) {
				t.Errorf("pod %s has %s, want one of %s", p, ip, cidr)
			}
		}
	}
}

func TestRowG6ClusterNameStandsInIdentityLabels(t *testing.T) {
	l := vxlanLab(t)
	if want := "k8s:io.cilium.k8s.policy.cluster=ltb-vxlan"; !slices.Contains(endpointOf(t, l, "n1", "a").Labels, want) {
		t.Errorf("labels of a: %v, want %s", endpointOf(t, l, "n1", "a").Labels, want)
	}
	long := strings.Repeat("x", 64)
	for name, why := range map[string]string{long: "at most 63", "Lab": "lower-case"} {
		r := agentWith(t, l, "cluster.name="+name)
		if r.Code != 2 {
			t.Errorf("cluster.name %q: exit code %d, want 2", name, r.Code)
		}
		wantText(t, "cluster.name "+name, r.Stderr, "cluster.name", name, why)
	}
}

func TestRowI1StatusTellsByItsExitCode(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-status", Nodes: lab.Nodes(1)}, "")
	n := node(t, l, "n1")
	if r := l.Exec(t.Context(), "n1", "weir", "status"); r.Code != 0 {
		t.Errorf("status of a node that is well: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	var r lab.Result
	until(t, 10*time.Second, func() string { // an agent that happens to look puts it back
		removePin(t, n, "links/devices/weir_vxlan/from_overlay")
		if r = l.Exec(t.Context(), "n1", "weir", "status"); r.Code != 1 {
			return fmt.Sprintf("status without from_overlay: exit code %d, want 1", r.Code)
		}
		return ""
	})
	wantText(t, "status", r.Stdout, "Failure", "from_overlay", "weir_vxlan")
	agentDo(t, l, "n1", lab.AgentRestart)
	if r := l.Exec(t.Context(), "n1", "weir", "status"); r.Code != 0 {
		t.Errorf("status after a restart: exit code %d\n%s", r.Code, r.Stdout)
	}
	agentDo(t, l, "n1", lab.AgentStop)
	r = l.Exec(t.Context(), "n1", "weir", "status")
	if r.Code != 1 {
		t.Errorf("status without an agent: exit code %d, want 1", r.Code)
	}
	wantText(t, "status", r.Stderr, n.Socket(), "is weir-agent running?")
	if r := l.Exec(t.Context(), "n1", "weir", "status", "--no-such"); r.Code != 2 {
		t.Errorf("wrong usage: exit code %d, want 2", r.Code)
	}
}

// wantRow fails unless a line of text matches.
func wantRow(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("(?m)^" + pattern).MatchString(text) {
		t.Errorf("got\n%s\nwant a line %s", text, pattern)
	}
}

func TestRowI3IPCacheIsShownAsTheKernelHoldsIt(t *testing.T) {
	l := vxlanLab(t)
	text := run(t, l, "n1", "weir", "map", "get", "weir_ipcache")
	wantRow(t, text, `Key +Value +State +Error`)
	for _, ip := range pod(t, l, "c").IPs {
		wantRow(t, text, regexp.QuoteMeta(netip.PrefixFrom(ip, ip.BitLen()).String())+` +identity=\d{3,} encryptkey=0 tunnelendpoint=172\.18\.0\.3 flags=<none> +sync`)
	}
	for _, ip := range pod(t, l, "a").IPs {
		wantRow(t, text, regexp.QuoteMeta(netip.PrefixFrom(ip, ip.BitLen()).String())+` +identity=\d{3,} encryptkey=0 tunnelendpoint=0\.0\.0\.0 endpoint=\d+ flags=<none> +sync`)
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "Key") && !strings.Contains(line, " sync") {
			t.Errorf("a row that is not in sync: %s", line)
		}
	}
}

func TestRowI4EndpointsMapNamesDevicesAndMACs(t *testing.T) {
	l := vxlanLab(t)
	text := run(t, l, "n1", "weir", "map", "get", "weir_endpoints")
	p := pod(t, l, "a")
	host := ipJSON(t, run(t, l, "n1", "ip", "-j", "link", "show", p.HostDevice))
	inside := ipJSON(t, run(t, l, "a", "ip", "-j", "link", "show", "eth0"))
	wantRow(t, text, fmt.Sprintf(`%s:0 +id=%d +sec_id=%d +flags=0x0000 ifindex=%d mac=%s nodemac=%s +sync`, regexp.QuoteMeta(p.IPs[0].String()),
		endpointOf(t, l, "n1", "a").ID, endpointOf(t, l, "n1", "a").Identity, host.Index, strings.ToUpper(inside.MAC), strings.ToUpper(host.MAC)))
}

type ipLink struct {
	Index int    `json:"ifindex"`
	MAC   string `json:"address"`
}

func ipJSON(t *testing.T, text string) ipLink {
	t.Helper()
	var out []ipLink
	if err := json.Unmarshal([]byte(text), &out); err != nil || len(out) != 1 {
		t.Fatalf("read %q: %v", text, err)
	}
	return out[0]
}

// bpftool knows tcx links from 7.3 on; filters it has always shown.
func TestRowI5BpftoolShowsOurPrograms(t *testing.T) {
	l := tcLab(t)
	dev := pod(t, l, "a").HostDevice
	text := run(t, l, "n1", "bpftool", "net", "show", "dev", dev)
	m := regexp.MustCompile(regexp.QuoteMeta(dev) + `\(\d+\) clsact/ingress from_pod-` + dev + ` id (\d+)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("bpftool net show dev %s: got\n%s\nwant from_pod at its ingress", dev, text)
	}
	wantText(t, "bpftool prog show", run(t, l, "n1", "bpftool", "prog", "show", "id", m[1]), "sched_cls", "from_pod", "gpl", "jited", "btf_id")
	wantText(t, "bpftool net show", run(t, l, "n1", "bpftool", "net", "show"), "from_netdev", "from_overlay", "from_host", "to_host")
}

func TestRowI6LegacyFiltersAreShownByTc(t *testing.T) {
	l := tcLab(t)
	wantPing(t, l, "a", "b")
	wantPing(t, l, "a", "c")
	dev := pod(t, l, "a").HostDevice
	text := run(t, l, "n1", "tc", "filter", "show", "dev", dev, "ingress")
	wantText(t, "tc filter show", text, "from_pod-"+dev, "direct-action", "jited", "pref 1 ", "handle 0x1")
	if n := strings.Count(text, "direct-action"); n != 1 {
		t.Errorf("filters at %s ingress: %d, want one\n%s", dev, n, text)
	}
	if text := run(t, l, "n1", "tc", "filter", "show", "dev", dev, "egress"); strings.Contains(text, "direct-action") {
		t.Errorf("a filter at %s egress:\n%s", dev, text)
	}
	if s := get[agent.Status](t, l, "n1", agent.PathStatus); !s.OK || s.Routing.AttachMode != "Legacy TC" {
		t.Errorf("status: ok %v, attach mode %q; want Legacy TC", s.OK, s.Routing.AttachMode)
	}
	agentDo(t, l, "n1", lab.AgentRestart)
	if again := run(t, l, "n1", "tc", "filter", "show", "dev", dev, "ingress"); again != text {
		t.Errorf("filters after a restart: got\n%swant\n%s", again, text)
	}
	wantPing(t, l, "a", "c")
}

func TestRowI7TcpdumpListensOnEveryDeviceOfOurs(t *testing.T) {
	l := vxlanLab(t)
	for _, d := range []struct{ where, dev string }{
		{"n1", "weir_host"}, {"n1", "weir_net"}, {"n1", "weir_vxlan"}, {"n1", "eth0"}, {"a", "host"}, {"a", "eth0"},
	} {
		c, err := l.Capture(t.Context(), d.where, d.dev)
		if err != nil {
			t.Errorf("%s %s: %v", d.where, d.dev, err)
			continue
		}
		if _, err := c.Stop(); err != nil {
			t.Errorf("%s %s: %v", d.where, d.dev, err)
		}
	}
}

func TestRowI9IPCommandsShowThePathOfAPacket(t *testing.T) {
	l := vxlanLab(t)
	wantPing(t, l, "a", "c")
	a, c := pod(t, l, "a"), pod(t, l, "c")
	host := ipJSON(t, run(t, l, "n1", "ip", "-j", "link", "show", a.HostDevice))
	wantText(t, "ip route get", run(t, l, "a", "ip", "route", "get", c.IPs[0].String()), "via 10.0.0.1 dev eth0 src "+a.IPs[0].String())
	wantText(t, "ip -6 route get", run(t, l, "a", "ip", "-6", "route", "get", c.IPs[1].String()), "via fd00::1 dev eth0", "src "+a.IPs[1].String())
	for _, gateway := range []string{"10.0.0.1", "fd00::1"} {
		wantText(t, "ip neigh show "+gateway, run(t, l, "a", "ip", "neigh", "show", gateway), "lladdr "+host.MAC)
	}
	wantText(t, "ip link", run(t, l, "n1", "ip", "link"), "weir_host@weir_net", "weir_net@weir_host", "weir_vxlan", a.HostDevice)
	wantText(t, "ip route", run(t, l, "n1", "ip", "route"), "10.0.1.0/24 via 10.0.0.1 dev weir_host")
	wantText(t, "ip -6 route", run(t, l, "n1", "ip", "-6", "route"), "fd00::100/120 dev weir_host")
}

func TestRowK6ContainersOfAPodShareOneEndpoint(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-share", Nodes: lab.Nodes(1)}, `
apiVersion: v1
kind: Pod
metadata: {name: both}
spec:
  nodeName: n1
  containers:
  - {name: one, command: [sh, -c, "hostname -I; exec sleep 100000"]}
  - {name: two, command: [sleep, "100000"]}
`)
	if got := endpoints(t, l, "n1"); !slices.Equal(got, []string{"default/both"}) {
		t.Errorf("endpoints: %v, want one for both containers", got)
	}
	if p := pod(t, l, "both"); len(p.Containers) != 2 || !p.Containers[0].Process.Alive() || !p.Containers[1].Process.Alive() {
		t.Errorf("containers: %+v, want two that run", p.Containers)
	}
}

func TestRowL1StateFilesRestoreEndpoints(t *testing.T) {
	l := vxlanLab(t)
	n := node(t, l, "n1")
	before := get[[]agent.Endpoint](t, l, "n1", agent.PathEndpoints)
	for _, e := range before {
		var file map[string]any
		path := filepath.Join(n.Dir, "run", "state", "endpoints", fmt.Sprintf("%d.json", e.ID))
		if err := json.Unmarshal([]byte(read(t, path)), &file); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if file["device"] != e.Device || file["ipv4"] != e.IPv4 || file["mtu"] != float64(e.MTU) || file["identity"] != float64(e.Identity) {
			t.Errorf("%s: %v, want what the endpoint list says: %+v", path, file, e)
		}
	}
	agentDo(t, l, "n1", lab.AgentRestart)
	until(t, waitReady, func() string { return unready(t, l, "n1", "a", "b") })
	after := get[[]agent.Endpoint](t, l, "n1", agent.PathEndpoints)
	if fmt.Sprintf("%+v", before) != fmt.Sprintf("%+v", after) {
		t.Errorf("endpoints: before the restart\n%+v\nafter it\n%+v", before, after)
	}
}

func TestRowL2ConfigListsEveryConstantOfThePrograms(t *testing.T) {
	l := vxlanLab(t)
	shown := map[string]string{}
	for _, o := range get[agent.Config](t, l, "n1", agent.PathConfig).Datapath {
		shown[o.Key] = o.Value
	}
	text := run(t, l, "n1", "weir", "config")
	spec, err := bpf.Spec("pod")
	if err != nil {
		t.Skip(err)
	}
	rodata := constants(t, filepath.Join(tree(node(t, l, "n1")), "programs", "from_pod"))
	typ, ok := btf.As[*btf.Struct](spec.Variables["config"].Type.Type)
	if !ok {
		t.Fatalf("config is a %T, want a struct", spec.Variables["config"].Type.Type)
	}
	for _, m := range typ.Members {
		if strings.HasPrefix(m.Name, "pad") {
			continue
		}
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		at := int(m.Offset.Bytes())
		want := constantText(m.Name, rodata[at:at+size])
		if got, ok := shown[m.Name]; !ok || got != want {
			t.Errorf("%s: shown %q (%v), the program has %q", m.Name, got, ok, want)
		}
		wantText(t, "weir config", text, m.Name)
		delete(shown, m.Name)
	}
	if len(shown) > 0 {
		t.Errorf("shown and no constant of the programs: %v", shown)
	}
}

// constants reads the frozen constants of a pinned program.
func constants(t *testing.T, pin string) []byte {
	t.Helper()
	p, err := ebpf.LoadPinnedProgram(pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if i, err := m.Info(); err == nil && strings.HasSuffix(i.Name, ".rodata") {
			value, err := m.LookupBytes(uint32(0))
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("%s has no constants", pin)
	return nil
}
