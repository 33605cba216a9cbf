package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	api "weir/api/agent"
	"weir/bpf"
	"weir/control/policy"
	"weir/internal/reconcile"
	"weir/state"
)

// dropsKept is how many drops `weir drops` can look back at.
const dropsKept = 4096

// lookForEvents is how often the ring is read.
const lookForEvents = 10 * time.Millisecond

// drops holds the last ones, oldest overwritten.
type drops struct {
	mu   sync.Mutex
	ring [dropsKept]api.Drop
	next uint64 // sequence number of the next one, from 1
}

func (d *drops) add(x api.Drop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	x.Seq = d.next
	d.ring[d.next%dropsKept] = x
}

func (d *drops) all() []api.Drop {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []api.Drop{}
	for seq := max(d.next, dropsKept) - dropsKept + 1; seq <= d.next; seq++ {
		out = append(out, d.ring[seq%dropsKept])
	}
	return out
}

func (a *Agent) listDrops(*http.Request) ([]api.Drop, error) { return a.drops.all(), nil }

// readEvents keeps what programs say, with the names that count at the time: not
// before the tables have names.
func (a *Agent) readEvents(ctx context.Context) error {
	if !reconcile.Wait(ctx, a.tables.IPs, a.tables.EndpointPolicies) {
		return nil
	}
	return a.dp.ReadEvents(ctx, lookForEvents, func(e bpf.Event) {
		a.drops.add(a.drop(e))
		if a.flows != nil {
			a.flows.Add(&e)
		}
	})
}

func (a *Agent) drop(e bpf.Event) api.Drop {
	out := api.Drop{Time: wallClock(e.Time), Place: bpf.Place(e.Place).String(), Reason: bpf.Reason(e.Reason).String(), Direction: "egress",
		Length: e.Len, SourceID: e.SrcIdentity, DestID: e.DstIdentity, Device: deviceName(int(e.Ifindex)), Policies: []string{}}
	if e.Direction == 1 {
		out.Direction = "ingress"
	}
	if e.Family == 0 {
		out.Proto = fmt.Sprintf("EtherType %#04x", bpf.Host(e.Protocol))
		return out
	}
	src, dst := e.Src.Netip(), e.Dst.Netip()
	out.Proto = state.ProtoName(e.Proto)
	out.Source, out.Dest = src.String(), dst.String()
	if e.Proto == 6 || e.Proto == 17 || e.Proto == 132 {
		out.Source, out.Dest = netip.AddrPortFrom(src, bpf.Host(e.Sport)).String(), netip.AddrPortFrom(dst, bpf.Host(e.Dport)).String()
	}
	if e.Proto == 6 {
		out.TCPFlags = tcpFlags(e.TCPFlags)
	}
	out.SourceName = a.nameOf(state.IdentityID(e.SrcIdentity), a.rowOf(src))
	out.DestName = a.nameOf(state.IdentityID(e.DstIdentity), a.rowOf(dst))
	a.decided(e, src, dst, &out)
	return out
}

// decided names the policies behind a denial, and what would have allowed it.
func (a *Agent) decided(e bpf.Event, src, dst netip.Addr, out *api.Drop) {
	switch bpf.Reason(e.Reason) {
	case bpf.DropPolicyDeny:
		if r, ok := a.policy.DecideRule(e.Rule[e.Direction&1]); ok {
			out.Policies = r.Origins
		}
	case bpf.DropPolicy:
		out.Policies = a.policy.IsolatedBy(state.EndpointID(e.Endpoint), e.Direction == 1)
		port := bpf.Host(e.Dport)
		answer := a.policy.Explain(policy.Query{From: a.partyOf(src, e.SrcIdentity), To: a.partyOf(dst, e.DstIdentity), Proto: e.Proto, Port: port})
		j := answer.Egress
		if e.Direction == 1 {
			j = answer.Ingress
		}
		out.Nearest, out.Missed = nearest(j), j.Missed
	}
}

// partyOf is the owner of an address with the identity that was judged.
func (a *Agent) partyOf(addr netip.Addr, identity uint32) policy.Party {
	p := a.owner(addr)
	p.Identity = state.IdentityID(identity)
	return p
}

func (a *Agent) rowOf(addr netip.Addr) state.IP {
	row, _ := a.tables.IPs.Get(netip.PrefixFrom(addr, addr.BitLen()))
	return row
}

// wallClock converts nanoseconds of CLOCK_MONOTONIC.
func wallClock(ns uint64) time.Time {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return time.Now()
	}
	return time.Now().Add(time.Duration(int64(ns) - t.Nano()))
}

func deviceName(index int) string {
	d, err := net.InterfaceByIndex(index)
	if err != nil {
		return fmt.Sprintf("device %d", index)
	}
	return d.Name
}

func tcpFlags(f uint8) string {
	var on []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) != 0 {
			on = append(on, name)
		}
	}
	return strings.Join(on, ",")
}
