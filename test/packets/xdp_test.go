package packets

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"weir/api/agent"
	"weir/bpf"
	"weir/datapath/link/linktest"
	"weir/lab"
)

// remoteWeb is a server on n2 only, and its service.
const remoteWeb = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c, image: nginx}]}
` + webService

// The row "NodePort to remote backend is answered with tc counters flat": what
// the world asks n1 goes to a pod of n2 and back without from_netdev.
func TestRowOfXDPAcceleration(t *testing.T) {
	needRoot(t)
	s := lab.Spec{Name: prefix + "xdp", Mode: "native", Nodes: lab.Nodes(2), Agent: map[string]any{"health": map[string]any{"enabled": false},
		"loadBalancer": map[string]any{"acceleration": "native"}}}
	c := temporary(t, s, nil)
	if err := c.ApplyYAML(t.Context(), "web.yaml", []byte(remoteWeb)).Err(); err != nil {
		t.Fatal(err)
	}
	c.wires(t)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var all agent.Services
		c.get(t, "n1", agent.PathServices, &all)
		if len(all.Frontends) == 12 && len(all.Frontends[0].Backends) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the agent of n1 has %+v", all)
		}
	}
	if status := c.run(t, "n1", "weir", "status"); !strings.Contains(status, "XDP Acceleration:") || !strings.Contains(status, "Native   [eth0]") {
		t.Errorf("status of n1:\n%s", status)
	}
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		to := netip.AddrPortFrom(c.addr(t, "n1", is4), 32000)
		c.curl(t, "world", to, 1) // neighbours are found
		xdp, tc := c.forwarded(t, "from_xdp"), c.forwarded(t, "from_netdev")
		if got := c.curl(t, "world", to, 20); got["web"] != 20 {
			t.Errorf("the world asks %s: %v answered, want web 20 times", to, got)
		}
		xdp, tc = c.forwarded(t, "from_xdp")-xdp, c.forwarded(t, "from_netdev")-tc
		if xdp < 20*8 || tc > xdp/20 {
			t.Errorf("%s: %d packets by XDP, %d by tc; want all by XDP", to, xdp, tc)
		}
	})
}

// wires makes the lab's links what XDP needs: the sums of packets complete,
// since there is no device that would, and a far end that takes what XDP sends.
func (c *cluster) wires(t *testing.T) {
	t.Helper()
	for _, at := range []string{"world", "web"} {
		linktest.In(t, c.netns(t, at), func() { linktest.ChecksumsOff(t, "eth0") })
	}
	linktest.In(t, c.netns(t, "underlay"), func() {
		pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { pass.Close() })
		for i := range 2 {
			port, err := netlink.LinkByName(fmt.Sprintf("n%d-eth0", i+1))
			if err != nil {
				t.Error(err)
				return
			}
			l, err := link.AttachXDP(link.XDPOptions{Program: pass, Interface: port.Attrs().Index, Flags: link.XDPDriverMode})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { l.Close() })
		}
	})
}

// forwarded is how many packets a program of n1 has sent on to the network.
func (c *cluster) forwarded(t *testing.T, program string) (n uint64) {
	t.Helper()
	var all []agent.Metric
	c.get(t, "n1", agent.PathMetrics, &all)
	for _, m := range all {
		if m.Place == program && m.Reason == bpf.ReasonToNetwork.String() {
			n += m.Packets
		}
	}
	return n
}
