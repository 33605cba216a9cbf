package health

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weir/datapath/link"
	"weir/datapath/link/linktest"
	"weir/state"
)

// attacher makes the endpoint with the kernel's means only: the host answers
// for the gateway, and a route leads to the endpoint.
type attacher struct {
	t          *testing.T
	tables     *state.Tables
	made, gone atomic.Int32
}

func (a *attacher) Attach(_ context.Context, netns string, addrs []netip.Addr) error {
	p := link.Pod{
		Netns: netns, Interface: Interface, Device: Device, MTU: 1500, RouteMTU: 1450,
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, NodeMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		Addrs: addrs, Gateways: []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd01::1")},
	}
	index, err := link.CreatePod(p)
	if err != nil {
		return err
	}
	if err := link.ConfigurePod(p); err != nil {
		return err
	}
	dst := &net.IPNet{IP: addrs[0].AsSlice(), Mask: net.CIDRMask(32, 32)}
	if err := netlink.RouteReplace(&netlink.Route{LinkIndex: index, Dst: dst}); err != nil {
		return err
	}
	a.tables.Endpoints.Put(state.Endpoint{ID: 1, Health: true, Device: Device, IPv4: addrs[0], IPv6: addrs[1]})
	a.made.Add(1)
	return nil
}

func (a *attacher) Detach(context.Context) error {
	a.gone.Add(1)
	a.tables.Endpoints.Delete(1)
	return link.DeletePod(Device)
}

func TestEndpointAnswersAndOutlivesTheAgent(t *testing.T) {
	linktest.Enter(t)
	linktest.Veth(t, "weir_host", "weir_net", "10.0.1.1/32")
	linktest.Veth(t, "eth0", "wire0", "192.168.0.1/24", "fd77::1/64")
	tables := state.New()
	me := node(1)
	me.Addresses = append(me.Addresses, netip.MustParseAddr("fd77::1"))
	tables.Nodes.Put(me)
	tables.Nodes.MarkSynced()
	tables.Endpoints.MarkSynced()
	o := Options{RunDir: t.TempDir(), Port: 4240, Interval: time.Hour, IPv4: true, IPv6: true}
	t.Cleanup(func() {
		if err := RemoveNetns(o.Netns()); err != nil {
			t.Error(err)
		}
	})
	a := &attacher{t: t, tables: tables}
	agent := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		linktest.Go(t, func() {
			defer close(done)
			if err := New(quiet, o, tables, a).Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		return func() { cancel(); <-done }
	}
	answers := func(addr netip.Addr) func() bool {
		return func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := hello(ctx, addr, o.Port)
			return err == nil
		}
	}
	var ino os.FileInfo
	for range 2 {
		stop := agent()
		for _, addr := range append(me.Addresses, me.Health[0]) {
			linktest.Eventually(t, 3*time.Second, addr.String()+" answers", answers(addr))
		}
		linktest.In(t, o.Netns(), func() {
			linktest.Eventually(t, 3*time.Second, "the endpoint answers over IPv6", answers(me.Health[1]))
		})
		now, err := os.Stat(o.Netns())
		if err != nil || ino != nil && !os.SameFile(ino, now) {
			t.Errorf("netns after a restart is another one (%v)", err)
		}
		ino = now
		stop()
		if answers(me.Addresses[0])() {
			t.Error("the node answers without an agent")
		}
	}
	if made := a.made.Load(); made != 1 {
		t.Errorf("the endpoint was made %d times by two agents, want once", made)
	}

	me.Health = []netip.Addr{netip.MustParseAddr("10.0.1.77"), me.Health[1]}
	tables.Nodes.Put(me)
	stop := agent()
	linktest.Eventually(t, 3*time.Second, "the other address answers", answers(me.Health[0]))
	if made, gone := a.made.Load(), a.gone.Load(); made != 2 || gone != 1 {
		t.Errorf("made %d and removed %d endpoints, want 2 and 1", made, gone)
	}
	stop()
	if err := New(quiet, o, tables, a).Remove(t.Context()); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if _, err := os.Stat(o.Netns()); err == nil {
		t.Error("the netns is left after Remove")
	}
}

func TestStrangerAtThePortIsNotANode(t *testing.T) {
	linktest.Enter(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = hello(ctx, netip.MustParseAddr("127.0.0.1"), l.Addr().(*net.TCPAddr).Port)
	if err == nil || !strings.Contains(err.Error(), "answer") {
		t.Errorf("hello = %v, want it to name the strange answer", err)
	}
}
