package packets

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
	"weir/lab"
)

// sees returns whose address a server has before it when a pod asks it.
func (c *cluster) sees(t *testing.T, server string, at netip.Addr, pod string) netip.Addr {
	t.Helper()
	l := listen(t, c.netns(t, server), at)
	defer l.Close()
	conn, err := dial(c.netns(t, pod), "tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("%s asks %s at %s: %v", pod, server, at, err)
	}
	defer conn.Close()
	asked, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer asked.Close()
	asked.Write([]byte("hello"))
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Errorf("%s asks %s at %s: no answer: %v", pod, server, at, err)
	}
	return asked.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

// Pods leave the cluster as their node, in every way of routing; within it they
// are who they are.
func TestRowJ9PodLeavesTheClusterAsItsNode(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			world := c.addr(t, "world", is4)
			if got, want := c.sees(t, "world", world, "a"), c.addr(t, "n1", is4); got != want {
				t.Errorf("the world sees %s, want the node %s", got, want)
			}
			c.reach(t, "a", world)
			if got, want := c.sees(t, "c", c.addr(t, "c", is4), "a"), c.addr(t, "a", is4); got != want {
				t.Errorf("a pod of another node sees %s, want the pod %s", got, want)
			}
			if got, want := c.sees(t, "n2", c.addr(t, "n2", is4), "a"), c.addr(t, "a", is4); got != want {
				t.Errorf("another node sees %s, want the pod %s", got, want)
			}
			c.echoes(t, is4, 4000) // fragments, both ways
			c.refused(t, is4)
		})
	})
}

// What the connection has in the table are two entries, found by either end.
func TestRowB34MasqueradedConnectionIsTwoEntriesThatGoTogether(t *testing.T) {
	c := on(t, vxlan)
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		l := listen(t, c.netns(t, "world"), c.addr(t, "world", is4))
		conn, err := dial(c.netns(t, "a"), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		asked, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		pod, node := conn.LocalAddr().String(), asked.RemoteAddr().String()
		out := strings.Join([]string{"TCP OUT", pod, "->", l.Addr().String(), "XLATE_SRC", node}, " ")
		in := strings.Join([]string{"TCP IN ", l.Addr().String(), "->", node, "XLATE_DST", pod}, " ")
		if rows := c.run(t, "n1", "weir", "nat", "list"); !strings.Contains(rows, out) || !strings.Contains(rows, in) {
			t.Errorf("no lines\n%s\n%s\nin\n%s", out, in, rows)
		}
		if found := strings.Count(c.run(t, "n1", "weir", "map", "get", bpf.MapCT), node); found == 0 {
			t.Errorf("%s has no entry for %s", bpf.MapCT, node)
		}
		conn.Close()
		asked.Close()
		gone := func() bool {
			r := c.Exec(t.Context(), "n1", "weir", "map", "get", bpf.MapCT)
			return r.Code == 0 && !strings.Contains(r.Stdout, node) // a busy agent is asked again
		}
		for deadline := time.Now().Add(30 * time.Second); !gone(); time.Sleep(time.Second) { // conntrack.tcpClosing is 10 s
			if time.Now().After(deadline) {
				t.Fatalf("after 30 s %s is still in\n%s", node, c.run(t, "n1", "weir", "map", "get", bpf.MapCT))
			}
		}
		if rows := c.run(t, "n1", "weir", "nat", "list"); strings.Contains(rows, pod) {
			t.Errorf("%s is still in\n%s", pod, rows)
		}
	})
}

// echoes lets pod a send a datagram to the world, which sends it back.
func (c *cluster) echoes(t *testing.T, is4 bool, size int) {
	t.Helper()
	var server net.PacketConn
	err := linktest.Inside(c.netns(t, "world"), func() (err error) {
		server, err = net.ListenPacket("udp", netip.AddrPortFrom(c.addr(t, "world", is4), 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		b := make([]byte, size)
		if n, from, err := server.ReadFrom(b); err == nil {
			server.WriteTo(b[:n], from)
		}
	}()
	conn, err := dial(c.netns(t, "a"), "udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(payload(size)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, size+1)); n != size {
		t.Errorf("of %d octets %d came back: %v", size, n, err)
	}
}

// refused lets pod a send to a port of the world that nobody has: the ICMP error
// about the node's packet reaches the pod's socket.
func (c *cluster) refused(t *testing.T, is4 bool) {
	t.Helper()
	conn, err := dial(c.netns(t, "a"), "udp", netip.AddrPortFrom(c.addr(t, "world", is4), 9).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port that nobody has: %v, want connection refused", err)
	}
}

// Where the underlay can route pods' addresses they keep them: in the native
// routing CIDR, which is no pod's only because a host outside has an address of it.
// To the native routing CIDR pods go with their own address, and elsewhere as the node.
func TestRowG10PodsKeepTheirAddressInTheNativeRoutingCIDR(t *testing.T) {
	c := on(t, native)
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		outside := "10.200.0.1/32"
		if !is4 {
			outside = "fd00::c8:1/128"
		}
		at := netip.MustParsePrefix(outside).Addr()
		c.run(t, "world", "ip", "addr", "add", outside, "dev", "eth0", "nodad")
		defer c.run(t, "world", "ip", "addr", "del", outside, "dev", "eth0")
		if got, want := c.sees(t, "world", at, "a"), c.addr(t, "a", is4); got != want {
			t.Errorf("%s sees %s, want the pod %s", at, got, want)
		}
		elsewhere := c.addr(t, "world", is4)
		if got, want := c.sees(t, "world", elsewhere, "a"), c.addr(t, "n1", is4); got != want {
			t.Errorf("%s, outside of the CIDR, sees %s, want the node %s", elsewhere, got, want)
		}
	})
}

// The line says what is so: it is another one when it is switched off.
func TestRowH15StatusSaysWhatIsMasqueraded(t *testing.T) {
	for m, want := range map[mode]string{
		vxlan:      "Masquerading: BPF [eth0] [IPv4: Enabled, IPv6: Enabled]",
		nativeIPv4: "Masquerading: BPF [eth0] 10.0.0.0/8 [IPv4: Enabled, IPv6: Disabled]",
	} {
		c := on(t, m)
		if got := c.statusLine(t, "Masquerading:"); got != want {
			t.Errorf("%s: %q, want %q", m, got, want)
		}
	}
	s := lab.Spec{Name: prefix + "small", Nodes: lab.Nodes(1), Agent: map[string]any{"enableIPv4Masquerade": false, "enableIPv6Masquerade": false,
		"health": map[string]any{"enabled": false}}}
	c := temporary(t, s, map[string]string{"a": "n1"})
	if got := c.statusLine(t, "Masquerading:"); got != "Masquerading: Disabled" {
		t.Errorf("switched off: %q", got)
	}
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		if got, want := c.sees(t, "world", c.addr(t, "world", is4), "a"), c.addr(t, "a", is4); got != want {
			t.Errorf("switched off: the world sees %s, want the pod %s", got, want)
		}
	})
}

// statusLine is a line of `weir status`, with single spaces.
func (c *cluster) statusLine(t *testing.T, begin string) string {
	t.Helper()
	lines := slices.Collect(strings.Lines(c.run(t, "n1", "weir", "status")))
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, begin) })
	if i < 0 {
		t.Fatalf("no line %s in\n%s", begin, strings.Join(lines, ""))
	}
	return strings.Join(strings.Fields(lines[i]), " ")
}
