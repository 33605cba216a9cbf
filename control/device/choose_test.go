package device

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/state"
)

type option func(*fact)

func dev(name, kind string, options ...option) fact {
	f := fact{Device: state.Device{Name: name, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, Kind: kind, Up: true}
	for _, o := range options {
		o(&f)
	}
	return f
}

func has(addr string) option {
	return func(f *fact) { f.Addrs = append(f.Addrs, netip.MustParsePrefix(addr)) }
}
func isDefault(f *fact)  { f.Default = true }
func isPort(f *fact)     { f.Port = true }
func isDown(f *fact)     { f.Up = false }
func isLoopback(f *fact) { f.Loopback = true }
func hasNoMAC(f *fact)   { f.MAC = nil }

func TestChooseDevicesThatLeadToTheUnderlay(t *testing.T) {
	tests := []struct {
		name  string
		facts []fact
		globs []string
		node  string
		want  []string
	}{
		{"default route", []fact{dev("eth0", "device", isDefault)}, nil, "", []string{"eth0"}},
		{"address of the node", []fact{dev("dummy0", "dummy", has("10.0.0.1/32")), dev("dummy1", "dummy", has("10.0.0.2/24"))}, nil, "10.0.0.1", []string{"dummy0"}},
		{"IPv6 address of the node", []fact{dev("dummy0", "dummy", has("fd00::1/128"))}, nil, "fd00::1", []string{"dummy0"}},
		{"several cards", []fact{
			dev("ens256", "device", has("fd05::9/64")), dev("ens160", "device", isDefault, has("192.168.1.9/24")), dev("ens192", "device", has("172.16.0.9/16")),
		}, nil, "192.168.1.9", []string{"ens160", "ens192", "ens256"}},
		{"card without an address", []fact{dev("ens192", "device")}, nil, "", nil},
		{"card that is down", []fact{dev("ens192", "device", isDown, has("10.0.0.1/24"))}, nil, "10.0.0.1", nil},
		{"bond, not its ports", []fact{dev("eth0", "device", isPort, has("10.0.0.1/24")), dev("bond0", "bond", isDefault)}, nil, "", []string{"bond0"}},
		{"bridge with the default route", []fact{dev("br0", "bridge", isDefault), dev("br1", "bridge", has("10.9.0.1/24"))}, nil, "", []string{"br0"}},
		{"node in a container", []fact{dev("eth0", "veth", isDefault), dev("eth1", "veth", has("10.5.0.2/24"))}, nil, "", []string{"eth0", "eth1"}},
		{"link to one pod", []fact{dev("lan17", "veth", has("10.5.0.1/32"))}, nil, "", nil},
		{"container networks", []fact{
			dev("docker0", "bridge", has("172.17.0.1/16")), dev("cali1", "veth", has("10.0.0.1/24")), dev("tunl0", "ipip", isDefault),
			dev("flannel.1", "vxlan", has("10.244.0.0/32")), dev("kube-ipvs0", "dummy", has("10.96.0.1/32")),
		}, nil, "", nil},
		{"tunnel with the default route", []fact{dev("wg0", "wireguard", isDefault, hasNoMAC)}, nil, "", nil},
		{"ours and loopback", []fact{
			dev("weir_host", "veth", isDefault, has("10.0.0.1/24")), dev("weir0123456789a", "veth", isDefault), dev("lo", "device", isLoopback, has("10.0.0.1/24")),
		}, nil, "10.0.0.1", nil},
		{"globs overrule", []fact{dev("eth0", "device", isDefault), dev("ens1", "device", isDown), dev("ens2", "dummy"), dev("weir_net", "veth")}, []string{"ens*", "weir*"}, "", []string{"ens1", "ens2"}},
		{"globs that match nothing", []fact{dev("eth0", "device", isDefault)}, []string{"bond?"}, "", nil},
	}
	for _, tt := range tests {
		var node []netip.Addr
		if tt.node != "" {
			node = []netip.Addr{netip.MustParseAddr(tt.node)}
		}
		var got []string
		for _, d := range choose(tt.facts, tt.globs, node) {
			got = append(got, d.Name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: devices (-want +got):\n%s", tt.name, diff)
		}
	}
}
