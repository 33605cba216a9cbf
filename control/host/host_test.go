package host

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/bpf"
	"weir/datapath"
	"weir/datapath/link"
	"weir/state"
)

func addrs(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range all {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func mapped(s string) bpf.Addr { return bpf.AddrFrom(netip.MustParseAddr(s)) }

var (
	node = state.Node{Name: "n1", Local: true, Addresses: addrs("172.18.0.2", "fc00::2"), Routers: addrs("10.0.0.1", "fd00::1"),
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	base    = link.Base{Host: link.Device{Name: "weir_host", Index: 4}, Net: link.Device{Name: "weir_net", Index: 5}, Tunnel: link.Device{Name: "weir_vxlan", Index: 6}}
	devices = []state.Device{{Name: "eth0", Index: 2}, {Name: "eth1.7", Index: 3}}
)

func TestConstantsFitTheNode(t *testing.T) {
	dual := Options{Tunnel: true, IPv4: true, IPv6: true, HostRouting: true, Underlay: "auto"}
	want := bpf.Config{RouterIPv4: mapped("10.0.0.1"), RouterIPv6: mapped("fd00::1"), NodeIPv4: mapped("172.18.0.2"), NodeIPv6: mapped("fc00::2"),
		TunnelIfindex: 6, HostIfindex: 4, TunnelMTU: 1450, IPv4: 1, IPv6: 1, HostRouting: 1}
	for name, c := range map[string]struct {
		change func(*Options, *state.Node)
		want   func(*bpf.Config)
	}{
		"tunnel, both families": {func(*Options, *state.Node) {}, func(*bpf.Config) {}},
		"native": {func(o *Options, _ *state.Node) { o.Tunnel = false },
			func(c *bpf.Config) { c.TunnelIfindex, c.TunnelMTU = 0, 0 }},
		"IPv4 only": {func(o *Options, _ *state.Node) { o.IPv6 = false },
			func(c *bpf.Config) { c.IPv6, c.RouterIPv6 = 0, bpf.Addr{} }},
		"IPv6 only": {func(o *Options, _ *state.Node) { o.IPv4 = false },
			func(c *bpf.Config) { c.IPv4, c.RouterIPv4 = 0, bpf.Addr{} }},
		"IPv6 underlay by choice": {func(o *Options, _ *state.Node) { o.Underlay = "ipv6" },
			func(c *bpf.Config) { c.UnderlayIPv6, c.TunnelMTU = 1, 1430 }},
		"IPv6 underlay for want of another": {func(_ *Options, n *state.Node) { n.Addresses = addrs("fc00::2") },
			func(c *bpf.Config) { c.UnderlayIPv6, c.TunnelMTU, c.NodeIPv4 = 1, 1430, bpf.Addr{} }},
		"legacy host routing": {func(o *Options, _ *state.Node) { o.HostRouting = false },
			func(c *bpf.Config) { c.HostRouting = 0 }},
		"L2 announcements": {func(o *Options, _ *state.Node) { o.L2 = true },
			func(c *bpf.Config) { c.L2 = 1 }},
		"events": {func(o *Options, _ *state.Node) { o.Monitor = Monitor{Level: bpf.MonitorMedium, Interval: 1250} },
			func(c *bpf.Config) { c.Monitor, c.MonitorRate = uint8(bpf.MonitorMedium), 3435973 }},
		"names": {func(o *Options, _ *state.Node) { o.Monitor = Monitor{DNS: true, Drops: 7} }, func(c *bpf.Config) { c.DNS, c.DropEvents = 1, 7 }},
		"events without intervals": {func(o *Options, _ *state.Node) { o.Monitor = Monitor{Level: bpf.MonitorMaximum, Interval: 1250} },
			func(c *bpf.Config) { c.Monitor = uint8(bpf.MonitorMaximum) }},
		"some VLANs": {func(o *Options, _ *state.Node) { o.VLANBypass = []int{7, 9} },
			func(c *bpf.Config) { c.VLANBypass = [8]uint16{7, 9} }},
		"all VLANs": {func(o *Options, _ *state.Node) { o.VLANBypass = []int{7, 0} },
			func(c *bpf.Config) { c.VLANBypass = [8]uint16{uint16(bpf.VLANAll)} }},
		"more VLANs than fit": {func(o *Options, _ *state.Node) { o.VLANBypass = []int{1, 2, 3, 4, 5, 6, 7, 8, 9} },
			func(c *bpf.Config) { c.VLANBypass = [8]uint16{1, 2, 3, 4, 5, 6, 7, 8} }},
	} {
		o, n, w := dual, node, want
		c.change(&o, &n)
		c.want(&w)
		if diff := cmp.Diff(w, constants(o, n, base, 1500)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestEveryDeviceHasItsPrograms(t *testing.T) {
	tree := datapath.NewTree("/b")
	at := func(device string, index int, program string, egress bool, folder string) datapath.Attachment {
		return datapath.Attachment{Device: device, Ifindex: index, Program: program, Egress: egress, Folder: "/b/weir/links/devices/" + folder}
	}
	want := []datapath.Attachment{
		at("weir_host", 4, "to_host", false, "weir_host"), at("weir_host", 4, "from_host", true, "weir_host"),
		at("weir_net", 5, "to_host", false, "weir_net"),
		at("weir_vxlan", 6, "from_overlay", false, "weir_vxlan"), at("weir_vxlan", 6, "to_overlay", true, "weir_vxlan"),
		at("eth0", 2, "from_netdev", false, "eth0"), at("eth0", 2, "to_netdev", true, "eth0"),
		at("eth1.7", 3, "from_netdev", false, "eth1-7"), at("eth1.7", 3, "to_netdev", true, "eth1-7"), // bpffs allows no dot
	}
	if diff := cmp.Diff(want, attachments(tree, base, devices)); diff != "" {
		t.Errorf("tunnel (-want +got):\n%s", diff)
	}
	native := base
	native.Tunnel = link.Device{}
	if diff := cmp.Diff(append(want[:3:3], want[5:]...), attachments(tree, native, devices)); diff != "" {
		t.Errorf("native (-want +got):\n%s", diff)
	}
}

func TestLocalSaysWhatIsMissing(t *testing.T) {
	tables := state.New()
	for _, c := range []struct {
		put  state.Node
		want string
	}{
		{state.Node{Name: "n2"}, "the cluster does not know this node: there is no Node or CiliumNode of its name"},
		{state.Node{Name: "n1", Local: true}, "node n1 has no pod CIDR: the operator has not given it one"},
		{state.Node{Name: "n1", Local: true, PodCIDRs: node.PodCIDRs}, "node n1 has no router address (CiliumInternalIP)"},
	} {
		tables.Nodes.Put(c.put)
		if _, err := Local(tables); err == nil || err.Error() != c.want {
			t.Errorf("%+v: got %v, want %s", c.put, err, c.want)
		}
	}
	tables.Nodes.Put(node)
	if got, err := Local(tables); err != nil || !got.Same(node) {
		t.Errorf("got %+v, %v; want %+v", got, err, node)
	}
}

func TestAccelerationIsForDevicesOfTheUnderlay(t *testing.T) {
	tree := datapath.NewTree("/b")
	for name, c := range map[string]struct {
		services bool
		mode     datapath.XDPMode
		on       uint8
	}{
		"disabled": {true, "", 0}, "native": {true, datapath.XDPNative, 1}, "best effort": {true, datapath.XDPBestEffort, 1},
		"services are kube-proxy's": {false, datapath.XDPNative, 0},
	} {
		o := Options{Services: Services{On: c.services}, XDP: c.mode}
		if got := constants(o, node, base, 1500).Acceleration; got != c.on {
			t.Errorf("%s: acceleration %d, want %d", name, got, c.on)
		}
		mode := c.mode
		if c.on == 0 {
			mode = ""
		}
		want := []datapath.Attachment{
			{Device: "eth0", Ifindex: 2, Program: "from_xdp", XDP: mode, Folder: "/b/weir/links/devices/eth0"},
			{Device: "eth1.7", Ifindex: 3, Program: "from_xdp", XDP: mode, Folder: "/b/weir/links/devices/eth1-7"},
		}
		if diff := cmp.Diff(want, accelerations(tree, o, devices)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
