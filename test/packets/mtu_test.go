package packets

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/api/agent"
	"weir/lab"
)

// headers are those of IP and ICMP, which ping does not count.
func headers(is4 bool) int {
	if is4 {
		return 28
	}
	return 48
}

// overhead is what the tunnel of the lab adds to a packet.
func (c *cluster) overhead() int {
	switch {
	case c.spec.Mode == lab.ModeNative:
		return 0
	case *c.spec.IPv4:
		return 50
	}
	return 70
}

func TestRowD9LargestPacketPassesAndALargerOneIsRefusedAloud(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			fits := 1500 - c.overhead() - headers(is4)
			to := c.addr(t, "c", is4)
			c.reach(t, "a", to, "-M", "do", "-s", strconv.Itoa(fits))
			for _, size := range []int{fits + 1, 1473} {
				e := c.ping(t, "a", to, "-M", "do", "-s", strconv.Itoa(size), "-c", "1")
				if e.received != 0 || !regexp.MustCompile(`(?i)message too long|frag needed|too big`).MatchString(e.text) {
					t.Errorf("%d bytes of ping: got\n%s\nwant an error that says the packet is too big", size, e.text)
				}
			}
		})
	})
}

var tooBig = regexp.MustCompile(`From (\S+) icmp_seq=\d+ (?:Frag needed and DF set \(mtu = (\d+)\)|Packet too big: mtu=(\d+))`)

// A pod that knows nothing of the tunnel gets the answer of its gateway.
func TestRowD9GatewayAnswersPacketsTooBigForTheTunnel(t *testing.T) {
	for _, m := range []mode{vxlan, legacy, legacyIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				router := c.router(t, "n1", is4)
				restore := c.forgetMTU(t, "b", router)
				defer restore()
				mtu := 1500 - c.overhead()
				size := 1500 - headers(is4)
				e := c.ping(t, "b", c.addr(t, "c", is4), "-M", "do", "-s", strconv.Itoa(size), "-c", "1")
				m := tooBig.FindStringSubmatch(e.text)
				if m == nil || m[1] != router.String() || m[2]+m[3] != strconv.Itoa(mtu) {
					t.Errorf("ping of 1500 bytes: got\n%s\nwant an ICMP error from %s that names MTU %d", e.text, router, mtu)
				}
				c.reach(t, "b", c.addr(t, "c", is4), "-M", "do", "-s", strconv.Itoa(mtu-headers(is4)))
			})
		})
	}
}

// forgetMTU takes the MTU off the pod's default route until restore.
func (c *cluster) forgetMTU(t *testing.T, pod string, router netip.Addr) (restore func()) {
	t.Helper()
	family := "-6"
	if router.Is4() {
		family = "-4"
	}
	mtu := strconv.Itoa(1500 - c.overhead())
	set := func(more ...string) {
		c.run(t, pod, append([]string{"ip", family, "route", "replace", "default", "via", router.String(), "dev", "eth0"}, more...)...)
		c.run(t, pod, "ip", family, "route", "flush", "cache")
	}
	if router.Is4() {
		set()
	} else { // replacing an IPv6 route keeps its metrics
		c.run(t, pod, "ip", family, "route", "del", "default")
		set()
	}
	return func() {
		c.run(t, pod, "ip", family, "route", "del", "default")
		set("mtu", mtu)
	}
}

var exceeded = regexp.MustCompile(`From (\S+) icmp_seq=\d+ Time (?:to live )?exceeded`)

func TestRowD9EachHopAnswersWhenTheTTLEnds(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for _, tt := range []struct {
				ttl, to string
				hop     string // the node that must answer
			}{{"1", "b", "n1"}, {"1", "c", "n1"}, {"2", "c", "n2"}, {"1", "world", "n1"}} {
				e := c.ping(t, "a", c.addr(t, tt.to, is4), "-t", tt.ttl, "-c", "1")
				m := exceeded.FindStringSubmatch(e.text)
				own := []string{c.router(t, tt.hop, is4).String(), c.addr(t, tt.hop, is4).String()}
				if m == nil || m[1] != own[0] && m[1] != own[1] {
					t.Errorf("ping -t %s to %s: got\n%s\nwant time exceeded from %s, one of %v", tt.ttl, tt.to, e.text, tt.hop, own)
				}
			}
			c.reach(t, "a", c.addr(t, "b", is4), "-t", "2")
			c.reach(t, "a", c.addr(t, "c", is4), "-t", "3")
		})
	})
}

func TestRowD9RouteMTUFollowsTheUnderlayUnderARunningStream(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			s := c.stream(t, "a", "c", is4)
			s.wantProgress(t, 1<<20)
			defer c.underlayMTU(t, 1500)
			for _, mtu := range []int{1400, 1500} {
				c.underlayMTU(t, mtu)
				why := ""
				if !await(2*patience, func() bool { why = c.unlike(t, mtu-c.overhead(), is4); return why == "" }) {
					t.Errorf("%s after the underlay's MTU became %d: %s", 2*patience, mtu, why)
				}
				s.wantProgress(t, 1<<20)
			}
			s.stop(t)
		})
	})
}

// underlayMTU sets the MTU of every node's eth0.
func (c *cluster) underlayMTU(t *testing.T, mtu int) {
	t.Helper()
	for _, node := range []string{"n1", "n2", "n3"} {
		c.run(t, node, "ip", "link", "set", "eth0", "mtu", strconv.Itoa(mtu))
	}
}

// unlike says what on n1 does not have the route MTU; "" when all has it.
func (c *cluster) unlike(t *testing.T, mtu int, is4 bool) string {
	t.Helper()
	if got := c.status(t, "n1").Routing.RouteMTU; got != mtu {
		return fmt.Sprintf("status says %d, want %d", got, mtu)
	}
	for _, r := range c.routes(t, "a", is4) {
		if r.Dst == "default" && r.mtu() != mtu {
			return fmt.Sprintf("the pod's default route has %d, want %d", r.mtu(), mtu)
		}
	}
	if c.spec.Mode == lab.ModeNative {
		return "" // its host routes are bound by the device
	}
	if got := to(c.routes(t, "n1", is4), c.cidr(t, "n2", is4)); len(got) != 1 || got[0].mtu() != mtu {
		return fmt.Sprintf("the host's route to n2 is %+v, want mtu %d", got, mtu)
	}
	var conf agent.Config
	c.get(t, "n1", agent.PathConfig, &conf)
	for _, o := range conf.Datapath {
		if o.Key == "tunnel_mtu" && o.Value != strconv.Itoa(mtu) {
			return fmt.Sprintf("the programs' constant is %s, want %d", o.Value, mtu)
		}
	}
	return ""
}

// stream is a TCP connection that carries a pattern without end.
type stream struct {
	client   net.Conn
	received atomic.Int64
	broken   chan error // 1: how the receiver ended
}

func (c *cluster) stream(t *testing.T, from, to string, is4 bool) *stream {
	t.Helper()
	l := listen(t, c.netns(t, to), c.addr(t, to, is4))
	client, err := dial(c.netns(t, from), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	s := &stream{client: client, broken: make(chan error, 1)}
	pattern := payload(1 << 16)
	go func() {
		for {
			if _, err := client.Write(pattern); err != nil {
				return // the receiver says how far it came
			}
		}
	}()
	go func() {
		got := make([]byte, len(pattern))
		for {
			if _, err := io.ReadFull(server, got); err != nil {
				s.broken <- err
				return
			}
			if !bytes.Equal(got, pattern) {
				s.broken <- errors.New("other bytes arrived than were sent")
				return
			}
			s.received.Add(int64(len(got)))
		}
	}()
	return s
}

// wantProgress waits until n more bytes have arrived.
func (s *stream) wantProgress(t *testing.T, n int64) {
	t.Helper()
	before := s.received.Load()
	if !await(patience, func() bool { return s.received.Load() >= before+n || len(s.broken) > 0 }) {
		t.Errorf("the stream stands still: %d bytes in %s", s.received.Load()-before, patience)
	}
	select {
	case err := <-s.broken:
		t.Errorf("the stream broke after %d bytes: %v", s.received.Load(), err)
	default:
	}
}

// stop ends the stream; only then may the receiver end.
func (s *stream) stop(t *testing.T) {
	t.Helper()
	s.client.Close()
	select {
	case err := <-s.broken:
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the stream did not end")
	}
}
