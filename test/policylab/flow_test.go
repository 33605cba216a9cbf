package policylab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"weir/api/agent"
)

// flow is one connection's first packet, and what shall become of it.
type flow struct {
	from, to, proto string
	port            uint16
	arrives         bool
	is4             bool

	text, mark string
	sport      uint16
}

// serial numbers packets: no two of a run have the same mark, and those close
// together no source port in common.
var serial atomic.Uint32

// flows reads lines like "a>b tcp/80 arrives" or "x>c icmp never", for both
// families.
func flows(t *testing.T, text string) []*flow {
	t.Helper()
	var out []*flow
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		from, to, ok := strings.Cut(words[0], ">")
		if len(words) != 3 || !ok || (words[2] != "arrives" && words[2] != "never") {
			t.Fatalf("%q is no flow", line)
		}
		proto, number, _ := strings.Cut(words[1], "/")
		port, _ := strconv.ParseUint(number, 10, 16) // ICMP has none
		for _, is4 := range []bool{true, false} {
			n := serial.Add(1)
			out = append(out, &flow{from: from, to: to, proto: proto, port: uint16(port), arrives: words[2] == "arrives", is4: is4,
				text: strings.TrimSpace(line), mark: fmt.Sprintf("%s%08x", mark, n), sport: uint16(20000 + n%40000)})
		}
	}
	return out
}

// tap returns what listens at a pod, a node or the world. At a node it is what
// its stack delivers: its devices' programs come after packet sockets.
func (c *cluster) tap(t *testing.T, ref string) *tap {
	t.Helper()
	if p := c.taps[ref]; p != nil {
		return p
	}
	_, err := c.Node(ref)
	p, err := openTap(c.netns(t, ref), err == nil)
	if err != nil {
		t.Fatalf("listen at %s: %v", ref, err)
	}
	c.taps[ref] = p
	return p
}

// drops returns what a node has dropped after the drop numbered since.
func (c *cluster) drops(t *testing.T, node string, since uint64) []agent.Drop {
	t.Helper()
	all := get[[]agent.Drop](t, c, node, agent.PathDrops)
	if len(all) > 0 && all[len(all)-1].Seq < since {
		return all // an agent counts from 1 again when it starts
	}
	for len(all) > 0 && all[0].Seq <= since {
		all = all[1:]
	}
	return all
}

func (c *cluster) lastDrops(t *testing.T) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	for _, node := range nodes {
		if all := c.drops(t, node, 0); len(all) > 0 {
			out[node] = all[len(all)-1].Seq
		}
	}
	return out
}

// dropped finds the drop of a flow's packet.
func (c *cluster) dropped(t *testing.T, f *flow, since map[string]uint64) (agent.Drop, bool) {
	t.Helper()
	src, dst := c.addr(t, f.from, f.is4), c.addr(t, f.to, f.is4)
	from, to := src.String(), dst.String()
	proto := strings.ToUpper(f.proto)
	switch {
	case f.proto == "icmp" && f.is4:
		proto = "ICMPv4"
	case f.proto == "icmp":
		proto = "ICMPv6"
	default:
		from, to = netip.AddrPortFrom(src, f.sport).String(), netip.AddrPortFrom(dst, f.port).String()
	}
	for _, node := range nodes {
		for _, d := range c.drops(t, node, since[node]) {
			if d.Source == from && d.Dest == to && d.Proto == proto {
				return d, true
			}
		}
	}
	return agent.Drop{}, false
}

func (c *cluster) shoot(t *testing.T, f *flow) {
	t.Helper()
	s := shot{src: c.addr(t, f.from, f.is4), dst: c.addr(t, f.to, f.is4), proto: f.proto, sport: f.sport, dport: f.port, payload: f.mark}
	if f.proto == "tcp" {
		s.flags = "S"
	}
	if err := newGun(t, c.netns(t, f.from)).shoot(s); err != nil {
		t.Fatalf("send %s from %s to %s: %v", f.proto, s.src, s.dst, err)
	}
}

// judge sends the flows and compares what becomes of them: each has to arrive,
// or to be among the drops, so that nothing passes for the other by being late.
// It returns the drops by the flow's line and family.
func (c *cluster) judge(t *testing.T, text string) map[string]agent.Drop {
	t.Helper()
	all := flows(t, text)
	for _, f := range all {
		c.tap(t, f.to)
	}
	since := c.lastDrops(t)
	for _, f := range all {
		c.shoot(t, f)
	}
	out := map[string]agent.Drop{}
	for _, f := range all {
		arrived, d, gone := false, agent.Drop{}, false
		await(patience, func() bool {
			arrived = c.tap(t, f.to).count(f.mark) > 0
			if !arrived {
				d, gone = c.dropped(t, f, since)
			}
			return arrived || gone
		})
		family := map[bool]string{true: "ipv4", false: "ipv6"}[f.is4]
		out[f.text+" "+family] = d
		switch {
		case !arrived && !gone:
			t.Errorf("%s (%s): neither arrived nor was dropped", f.text, family)
		case arrived && !f.arrives:
			t.Errorf("%s (%s): arrived", f.text, family)
		case !arrived && f.arrives:
			t.Errorf("%s (%s): dropped: %s", f.text, family, describe(d))
		}
	}
	return out
}

func describe(d agent.Drop) string {
	return fmt.Sprintf("%s at %s, %s policy, %d %s to %d %s, by %q, nearest %q: %s", d.Reason, d.Place, d.Direction, d.SourceID, d.SourceName,
		d.DestID, d.DestName, d.Policies, d.Nearest, d.Missed)
}

// tellDrops logs the first few drops of what a pod has sent, and of the answers to it.
func (c *cluster) tellDrops(t *testing.T, of string, since map[string]uint64) {
	t.Helper()
	told := 0
	for _, node := range nodes {
		for _, d := range c.drops(t, node, since[node]) {
			own := slices.ContainsFunc([]string{d.Source, d.Dest}, func(end string) bool {
				at, err := netip.ParseAddrPort(end)
				return err == nil && (at.Addr() == c.addr(t, of, true) || at.Addr() == c.addr(t, of, false))
			})
			if own && told < 5 {
				told++
				t.Logf("%s at %s: %s > %s %s: %s", d.Time.Format("15:04:05.000"), node, d.Source, d.Dest, d.Proto, describe(d))
			}
		}
	}
}
