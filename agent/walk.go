package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	api "weir/api/agent"
	"weir/api/walk"
	"weir/bpf"
	"weir/control/policy"
	"weir/state"
)

const (
	probeLimit = time.Second           // for an answer to a probe
	afterwards = 60 * time.Millisecond // for what is still under way when it has come
	settled    = 8 * afterwards        // for the steps of nodes that are busy
	liveLimit  = 60 * time.Second      // of --live
	stepsKept  = 4096                  // of one walk
	walkBusy   = "another walk is under way on this node: try again when it has ended"
)

// walks lets one walk at a time use the maps.
type walks struct {
	mu    sync.Mutex
	base  time.Time // when CLOCK_MONOTONIC was 0: one for all steps of a walk, so that they keep their order
	began uint64    // by that clock
}

// begin takes the maps for a walk, if nobody has them; end gives them back.
func (w *walks) begin() bool {
	if !w.mu.TryLock() {
		return false
	}
	w.base = wallClock(0)
	w.began = uint64(time.Since(w.base))
	return true
}

// own reports whether a step is of this walk. The walk before may have left some, above all
// if its agent was killed.
func (w *walks) own(s bpf.Step) bool { return s.Time >= w.began }

func (w *walks) end() { w.mu.Unlock() }

// walk sends a probe, or waits for others' packets, and tells each program's part.
func (a *Agent) walk(ctx context.Context, q api.WalkRequest) (api.Walk, error) {
	p, err := a.planWalk(q)
	if err != nil {
		return api.Walk{}, err
	}
	out := api.Walk{From: p.from, To: p.to, Steps: []api.Step{}}
	if !a.walks.begin() {
		return out, fmt.Errorf("%s", walkBusy)
	}
	defer a.walks.end()
	steps, err := a.follow(ctx, p, &out)
	if err != nil {
		return out, err
	}
	for _, s := range steps {
		out.Steps = append(out.Steps, a.step(s))
	}
	slices.SortStableFunc(out.Steps, func(x, y api.Step) int { return x.Time.Compare(y.Time) })
	if len(steps) == stepsKept {
		out.Note = fmt.Sprintf("only the first %d steps are shown", stepsKept)
	}
	return out, nil
}

// follow has the programs tell while the probe is on its way, or as long as asked.
func (a *Agent) follow(ctx context.Context, p plan, out *api.Walk) (steps []bpf.Step, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read := make(chan error, 1)
	go func() {
		read <- a.dp.ReadSteps(ctx, func(s bpf.Step) {
			if a.walks.own(s) && len(steps) < stepsKept {
				steps = append(steps, s)
			}
			if len(steps) == stepsKept && p.live > 0 {
				cancel() // what is not kept need not be followed
			}
		})
	}()
	var others *peerSteps
	begin := func(w bpf.Walk) error {
		others = a.followPeers(ctx, a.beyond(w, p.dst, p.proto), a.endsOf(p))
		return a.dp.Follow(w)
	}
	if p.live > 0 {
		if err = begin(p.walk); err == nil {
			sleep(ctx, p.live)
		}
	} else {
		out.Probe, out.Answer, err = a.sendProbe(ctx, p, begin)
		_, elsewhere := a.nodeBehind(a.covering(p.dst.Addr()))
		others.settle(ctx, elsewhere)
	}
	if off := a.dp.Follow(bpf.Walk{}); err == nil {
		err = off
	}
	cancel()
	if failed := <-read; err == nil {
		err = failed
	}
	if others != nil {
		stands := taken(steps)
		there, missing := others.wait(func(b *walk.Between) bool { return isOwn(b, p.src, stands) })
		out.Steps, out.Missing = append(out.Steps, there...), missing
	}
	return steps, err
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// plan is what a walk is to look at.
type plan struct {
	from, to string // for people
	pod      state.Endpoint
	dst      netip.AddrPort
	src      netip.Addr
	proto    uint8
	walk     bpf.Walk
	live     time.Duration
}

// planWalk checks a request.
func (a *Agent) planWalk(q api.WalkRequest) (p plan, err error) {
	if p.live = q.Live; q.Live < 0 || q.Live > liveLimit {
		return p, fmt.Errorf("live %s: give more than 0 s and at most %s", q.Live, liveLimit)
	}
	from, err := a.walkEnd(q.From, true, 0)
	if err != nil {
		return p, err
	}
	to, err := a.walkEnd(q.To, !from.Addr.IsValid() || from.Addr.Is4(), q.Port)
	if err != nil {
		return p, err
	}
	if from.Addr.IsValid() && to.Addr.IsValid() && from.Addr.Is4() != to.Addr.Is4() {
		if from, err = a.walkEnd(q.From, to.Addr.Is4(), 0); err != nil {
			return p, err
		}
	}
	if !from.Addr.IsValid() || !to.Addr.IsValid() || from.Addr.Is4() != to.Addr.Is4() {
		return p, fmt.Errorf("%s and %s have no addresses of one family: name two that do", q.From, q.To)
	}
	if p.proto, err = walkProto(cmp.Or(q.Proto, to.proto), to); err != nil {
		return p, err
	}
	p.from, p.to, p.src, p.dst = q.From, q.To, from.Addr, netip.AddrPortFrom(to.Addr, to.port)
	if p.live > 0 {
		p.walk = bpf.Walk{On: 1}
		p.walk.Filter[0] = bpf.WalkFilter{Used: 1, A: bpf.AddrFrom(p.src), B: bpf.AddrFrom(to.Addr), PortB: bpf.Network(to.port), Proto: p.proto}
		return p, nil
	}
	return p, a.planProbe(from, &p)
}

// walkProto is the protocol of a name; without one TCP, or an echo request where there
// is no port.
func walkProto(name string, to walkEnd) (uint8, error) {
	if name == "" {
		name = "TCP"
		if to.port == 0 {
			name = "ICMP"
		}
	}
	if name == "ICMP" && !to.Addr.Is4() {
		name = "ICMPv6"
	}
	n, ok := state.ProtoNumber(name)
	if !ok {
		return 0, fmt.Errorf("%q is no protocol: use TCP, UDP or ICMP", name)
	}
	return n, nil
}

// planProbe finds the pod in whose place the probe is sent.
func (a *Agent) planProbe(from walkEnd, p *plan) error {
	if (p.proto == 6 || p.proto == 17) && p.dst.Port() == 0 {
		return fmt.Errorf("to %s: a probe of %s needs a port: give --port", p.to, state.ProtoName(p.proto))
	}
	if p.pod, _ = a.tables.Endpoints.Get(from.Endpoint); from.Endpoint == 0 || p.pod.Netns == "" {
		row := a.covering(from.Addr)
		if n, elsewhere := a.nodeBehind(row); elsewhere && row.Source == state.IPPod {
			return fmt.Errorf("%s is at node %s, which alone can send a probe in its place: run this there, or use --live", p.from, n.Name)
		}
		return fmt.Errorf("%s is no pod of this node, so no probe can be sent in its place: ask the agent of its node, or use --live", p.from)
	}
	return nil
}

// walkEnd is one end of a walk.
type walkEnd struct {
	policy.Party
	port  uint16
	proto string // of a service's port; empty: not known
}

// walkEnd finds who a name means. Of what has both families ipv4 chooses.
func (a *Agent) walkEnd(name string, ipv4 bool, port uint16) (walkEnd, error) {
	kind, rest, ok := strings.Cut(name, "/")
	switch {
	case ok && (kind == "service" || kind == "svc"):
		return a.walkService(rest, ipv4, port)
	case ok && kind == "pod":
		name = rest
	case name == "host":
		return walkEnd{Party: policy.Party{Addr: a.routerOf(ipv4), Local: true}, port: port}, nil
	}
	p, _, err := a.party(name, ipv4)
	if err == nil && !p.Addr.IsValid() {
		err = fmt.Errorf("%q has no address: name a pod, a service or an address", name)
	}
	return walkEnd{Party: p, port: port}, err
}

// routerOf is this node's address on its pods' side.
func (a *Agent) routerOf(ipv4 bool) netip.Addr {
	cfg := a.dp.Config()
	if ipv4 {
		return cfg.RouterIPv4.Netip()
	}
	return cfg.RouterIPv6.Netip()
}

// walkService is a service's address, and its only port if none is given.
func (a *Agent) walkService(name string, ipv4 bool, port uint16) (walkEnd, error) {
	namespace, service, ok := strings.Cut(name, "/")
	if !ok {
		namespace, service = "default", name
	}
	row, ok := a.tables.Services.Get(state.ServiceName{Namespace: namespace, Name: service})
	if !ok {
		return walkEnd{}, fmt.Errorf("no service %s/%s is known: `weir service list` names all", namespace, service)
	}
	proto := ""
	for _, p := range row.Ports {
		if p.Port == port || port == 0 && len(row.Ports) == 1 {
			port, proto = p.Port, state.ProtoName(p.Proto)
		}
	}
	for _, ip := range row.ClusterIPs {
		if ip.Is4() == ipv4 || len(row.ClusterIPs) == 1 {
			return walkEnd{policy.Party{Addr: ip}, port, proto}, nil
		}
	}
	return walkEnd{}, fmt.Errorf("service %s/%s has no cluster address of this family: name one of its backends", namespace, service)
}
