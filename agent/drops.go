package agent

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	api "weir/api/agent"
	"weir/bpf"
	"weir/control/policy"
	"weir/state"
)

// dropsKept is how many drops `weir drops` can look back at.
const dropsKept = 4096

// drops holds the last ones, oldest overwritten. To say which policy decided takes
// longer than to read an event, so it is not done by who reads them: in a flood, drops
// are left out, each with its number.
type drops struct {
	come chan numberedDrop
	seq  uint64 // of the last one; whoever reads events alone uses it

	mu   sync.Mutex
	ring [dropsKept]api.Drop
	kept uint64 // ever
}

type numberedDrop struct {
	seq   uint64
	event bpf.Event
}

// note never waits.
func (d *drops) note(e *bpf.Event) {
	d.seq++
	select {
	case d.come <- numberedDrop{d.seq, *e}:
	default:
	}
}

func (d *drops) keep(x api.Drop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ring[d.kept%dropsKept] = x
	d.kept++
}

func (d *drops) all() []api.Drop {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []api.Drop{}
	for i := max(d.kept, dropsKept) - dropsKept; i < d.kept; i++ {
		out = append(out, d.ring[i%dropsKept])
	}
	return out
}

// explainedASecond bounds what a flood of drops costs: to explain one takes some ten
// microseconds, and policy waits meanwhile.
const explainedASecond = 2000

// pace lets as many drops through as are kept, and then so many a second.
type pace struct {
	left float64
	last time.Time
}

// wait is how long the next one has to wait before it asks again; 0: it has its turn.
func (p *pace) wait(now time.Time) time.Duration {
	p.left = min(p.left+now.Sub(p.last).Seconds()*explainedASecond, dropsKept)
	p.last = now
	if p.left < 1 {
		return 10 * time.Millisecond
	}
	p.left--
	return 0
}

// explainDrops says of each drop what there is to say, until ctx ends.
func (a *Agent) explainDrops(ctx context.Context) error {
	var p pace
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-a.drops.come:
			for wait := p.wait(time.Now()); wait > 0; wait = p.wait(time.Now()) {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(wait):
				}
			}
			x := a.drop(n.event)
			x.Seq = n.seq
			a.drops.keep(x)
		}
	}
}

func (a *Agent) listDrops(*http.Request) ([]api.Drop, error) { return a.drops.all(), nil }

func (a *Agent) drop(e bpf.Event) api.Drop {
	out := api.Drop{Time: wallClock(e.Time), Place: bpf.Place(e.Place).String(), Reason: bpf.Reason(e.Reason).String(), Cause: e.Cause(), Direction: "egress",
		Length: e.Len, SourceID: e.SrcIdentity, DestID: e.DstIdentity, Device: a.deviceName(e.Ifindex), Policies: []string{}}
	if e.Direction == 1 {
		out.Direction = "ingress"
	}
	if e.Family == 0 {
		out.Proto = fmt.Sprintf("EtherType %#04x", bpf.Host(e.Protocol))
		return out
	}
	src, dst := e.Src.Netip(), e.Dst.Netip()
	out.Proto = state.ProtoName(e.Proto)
	out.Source, out.Dest = endText(&e, e.Src, e.Sport), endText(&e, e.Dst, e.Dport)
	if e.Asked != (bpf.Addr{}) {
		out.Asked = endText(&e, e.Asked, e.AskedPort)
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

func tcpFlags(f uint8) string {
	var on []string
	for i, name := range bpf.TCPFlags {
		if f&(1<<i) != 0 {
			on = append(on, name)
		}
	}
	return strings.Join(on, ",")
}
