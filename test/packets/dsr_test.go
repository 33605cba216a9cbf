package packets

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/api/agent"
	"weir/datapath/link/linktest"
	"weir/lab"
)

// echoed is a backend on n2 with a NodePort.
const echoed = `
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec: {nodeName: n2, containers: [{name: c, image: sleep, command: [sleep, infinity]}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: echo}
  ports:
  - {name: tcp, protocol: TCP, port: 8000, targetPort: 8080, nodePort: 32000}
  - {name: udp, protocol: UDP, port: 8000, targetPort: 8080, nodePort: 32000}
`

// A client from outside asks a node without a backend. In the modes with DSR the
// pod sees the client, and what it answers does not pass the node that was asked.
func TestClientIsAnsweredByTheBackendsNode(t *testing.T) {
	for _, mode := range []string{"dsr", "hybrid"} {
		for _, routing := range []string{lab.ModeVXLAN, lab.ModeNative} {
			t.Run(mode+","+routing, func(t *testing.T) {
				needRoot(t)
				s := lab.Spec{Name: prefix + mode + "-" + routing, Mode: routing, Nodes: lab.Nodes(2),
					Agent: map[string]any{"health": map[string]any{"enabled": false}, "loadBalancer": map[string]any{"mode": mode}}}
				c := temporary(t, s, nil)
				if err := c.ApplyYAML(t.Context(), "echo.yaml", []byte(echoed)).Err(); err != nil {
					t.Fatal(err)
				}
				for _, node := range []string{"n1", "n2"} {
					c.awaitBackends(t, node, 12)
				}
				if st := c.status(t, "n1"); st.Services == nil || st.Services.Mode != mode {
					t.Errorf("services of the status are %+v, want mode %s", st.Services, mode)
				}
				c.eachFamily(t, func(t *testing.T, is4 bool) { c.answeredDirectly(t, mode, is4) })
			})
		}
	}
}

// awaitBackends waits until a node has so many frontends, each with a backend.
func (c *cluster) awaitBackends(t *testing.T, node string, frontends int) {
	t.Helper()
	var all agent.Services
	if !await(2*patience, func() bool {
		c.get(t, node, agent.PathServices, &all)
		n := 0
		for _, f := range all.Frontends {
			n += len(f.Backends)
		}
		return n == frontends
	}) {
		t.Fatalf("services of %s are %+v", node, all)
	}
}

func (c *cluster) answeredDirectly(t *testing.T, mode string, is4 bool) {
	at := c.nodePort(t, "n1", is4)
	peers := c.serveEcho(t, "echo", is4)
	asked, backend := c.listenOn(t, "n1", "eth0"), c.listenOn(t, "n2", "eth0")
	for _, network := range []string{"tcp", "udp"} {
		direct := network == "tcp" || mode == "dsr"
		for _, size := range []int{100, 1000, 1<<20 + 1} {
			if !direct && size > 1000 {
				break // of SNAT no length is tested here
			}
			if network == "udp" && size > 1472 {
				size = 1500 - 28 // is as long as the way is wide: there is no room for the option
				if !is4 {
					size = 1500 - 48
				}
			}
			client, err := c.echoTo(t, network, at, size)
			if err != nil {
				t.Errorf("%s, %d octets: %v", network, size, err)
				continue
			}
			if peer := <-peers; (peer == client) != direct {
				t.Errorf("%s: the pod sees %s, the client is %s", network, peer, client)
			}
		}
		answers := func(p gopacket.Packet) bool { return comesFrom(p, network, at) }
		if n := len(asked.all(answers)); (n == 0) != direct {
			t.Errorf("%s: %d answers passed the node that was asked", network, n)
		}
		if n := len(backend.all(answers)); (n > 0) != direct {
			t.Errorf("%s: %d answers left the backend's node in the service's name", network, n)
		}
	}
	for _, node := range []string{"n1", "n2"} {
		want := fmt.Sprintf(" -> %s => %s", at, netip.AddrPortFrom(c.addr(t, "echo", is4), 8080))
		list := c.run(t, node, "weir", "ct", "list", "--port", "32000", "--proto", "tcp")
		if !strings.Contains(list, want) {
			t.Errorf("%s: %q is not in\n%s", node, want, list)
		}
	}
}

// comesFrom matches frames that are not tunnelled and have this source.
func comesFrom(p gopacket.Packet, network string, at netip.AddrPort) bool {
	src, _ := innermost(p)
	if src != at.Addr() {
		return false
	}
	if network == "tcp" {
		l, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && uint16(l.SrcPort) == at.Port()
	}
	l, ok := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	return ok && uint16(l.SrcPort) == at.Port()
}

// serveEcho answers TCP and UDP at port 8080 of a pod with what it gets, and tells
// whom it sees, once for each connection or datagram.
func (c *cluster) serveEcho(t *testing.T, pod string, is4 bool) <-chan netip.Addr {
	t.Helper()
	peers := make(chan netip.Addr, 64) // more than one test asks for
	at := netip.AddrPortFrom(c.addr(t, pod, is4), 8080).String()
	var tcp net.Listener
	var udp net.PacketConn
	err := linktest.Inside(c.netns(t, pod), func() (err error) {
		if tcp, err = net.Listen("tcp", at); err == nil {
			udp, err = net.ListenPacket("udp", at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close(); udp.Close() })
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return // the test is over
			}
			peers <- netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().Unmap()
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			peers <- netip.MustParseAddrPort(from.String()).Addr().Unmap()
			udp.WriteTo(buf[:n], from)
		}
	}()
	return peers
}

// echoTo sends from outside, takes the same back, and returns the client's address. A
// datagram may be lost to path MTU discovery, so it is sent again.
func (c *cluster) echoTo(t *testing.T, network string, to netip.AddrPort, size int) (client netip.Addr, err error) {
	t.Helper()
	conn, err := dial(c.netns(t, "world"), network, to.String())
	if err != nil {
		return client, err
	}
	defer conn.Close()
	client = netip.MustParseAddrPort(conn.LocalAddr().String()).Addr().Unmap()
	want, got := payload(size), make([]byte, size)
	if network == "tcp" {
		conn.SetDeadline(time.Now().Add(3 * patience))
		go conn.Write(want)
		if n, err := io.ReadFull(conn, got); err != nil {
			return client, fmt.Errorf("%d of %d octets came back: %w", n, size, err)
		}
	} else {
		for range 5 {
			if _, err = conn.Write(want); err != nil {
				continue // an error that ICMP has told of
			}
			conn.SetReadDeadline(time.Now().Add(time.Second))
			if _, err = conn.Read(got); err == nil {
				break
			}
		}
		if err != nil {
			return client, err
		}
	}
	if !bytes.Equal(got, want) {
		return client, fmt.Errorf("other octets came back than were sent")
	}
	return client, nil
}
