package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	api "weir/api/agent"
	"weir/bpf"
	"weir/state"
)

const (
	// lookForLoss is how often a client learns what the rings have lost.
	lookForLoss = time.Second
	// stuck is how long a client may take no octet at all before it is given up.
	stuck = time.Minute
)

// kindNames are the kinds of events; kindGroups what users of Cilium know them by.
var (
	kindNames  = map[bpf.EventKind]string{bpf.EventDrop: "drop", bpf.EventNew: "new", bpf.EventGoing: "going", bpf.EventPacket: "packet"}
	kindGroups = map[string][]bpf.EventKind{"trace": {bpf.EventNew, bpf.EventGoing, bpf.EventPacket}, "policy-verdict": {bpf.EventDrop, bpf.EventNew}}
)

// wanted is which events a client asks for.
type wanted struct {
	kinds             [8]bool // by bpf.EventKind
	from, to, related []state.EndpointID
}

// monitor sends events until the client goes, or the agent ends.
func (a *Agent) monitor(ended context.Context) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		want, err := a.wantedOf(r.URL.Query())
		if err != nil {
			refuse(w, &api.Error{Code: api.CodeInternal, Message: err.Error()})
			return
		}
		one, err := a.followers.add(func(e *bpf.Event) bool { return a.isWanted(want, e) })
		if err != nil {
			refuse(w, &api.Error{Code: api.CodeTryAgainLater, Message: err.Error()})
			return
		}
		defer a.followers.remove(one)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ended, cancel)()
		s := stream{w: w, rc: http.NewResponseController(w), enc: json.NewEncoder(w), agent: a, one: one}
		s.enc.SetEscapeHTML(false)
		s.run(ctx)
	}
}

// stream is one client's connection.
type stream struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	enc   *json.Encoder
	agent *Agent
	one   *follower
}

func (s stream) run(ctx context.Context) {
	s.w.Header().Set("Content-Type", "application/x-ndjson")
	if s.rc.SetReadDeadline(time.Time{}) != nil { // the server's is for requests that end
		return
	}
	look := time.NewTicker(lookForLoss)
	defer look.Stop()
	before := s.agent.ringLoss()
	if s.send(api.MonitorLine{Begin: s.agent.monitorBegin()}) != nil || s.rc.Flush() != nil {
		return
	}
	var done []bpf.Event
	for {
		lost := api.MonitorLoss{}
		select {
		case <-ctx.Done():
			return
		case <-s.one.wake:
		case <-look.C:
			now := s.agent.ringLoss()
			lost = api.MonitorLoss{Verdicts: now.Verdicts - before.Verdicts, Traces: now.Traces - before.Traces}
			before = now
		}
		done, lost.Unread = s.one.take(done)
		if s.tell(done, lost) != nil {
			return
		}
	}
}

// tell sends some events, and what was lost behind them.
func (s stream) tell(events []bpf.Event, lost api.MonitorLoss) error {
	for i := range events {
		e := s.agent.eventOf(&events[i])
		if err := s.send(api.MonitorLine{Event: &e}); err != nil {
			return err
		}
	}
	if lost != (api.MonitorLoss{}) {
		if err := s.send(api.MonitorLine{Lost: &lost}); err != nil {
			return err
		}
	}
	return s.rc.Flush()
}

func (s stream) send(line api.MonitorLine) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(stuck)); err != nil {
		return err
	}
	return s.enc.Encode(line)
}

func (a *Agent) monitorBegin() *api.MonitorBegin {
	begin := &api.MonitorBegin{CPUs: runtime.NumCPU(), PageSize: os.Getpagesize(), Level: "drops"}
	begin.Pages = int(a.dp.RingOctets()) / begin.PageSize
	if a.cfg.Hubble.Enabled {
		begin.Level = a.cfg.BPF.MonitorAggregation
	}
	return begin
}

// ringLoss is what the rings have lost since they were made.
func (a *Agent) ringLoss() (out api.MonitorLoss) {
	var err error
	if out.Verdicts, out.Traces, err = a.dp.EventsLost(); err != nil {
		a.log.Warn("what the rings have lost is not known", "err", err)
	}
	return out
}

// wantedOf reads a request: without types it means all.
func (a *Agent) wantedOf(q url.Values) (wanted, error) {
	var w wanted
	for _, name := range split(q["type"]) {
		kinds := kindGroups[name]
		for k, n := range kindNames {
			if n == name {
				kinds = []bpf.EventKind{k}
			}
		}
		if kinds == nil {
			return w, fmt.Errorf("type %q: known are drop, new, going, packet, trace and policy-verdict", name)
		}
		for _, k := range kinds {
			w.kinds[k] = true
		}
	}
	if len(q["type"]) == 0 {
		w.kinds = [8]bool{true, true, true, true, true, true, true, true}
	}
	for key, into := range map[string]*[]state.EndpointID{"from": &w.from, "to": &w.to, "related": &w.related} {
		for _, name := range split(q[key]) {
			id, err := a.endpointNamed(name)
			if err != nil {
				return w, fmt.Errorf("%s: %w", key, err)
			}
			*into = append(*into, id)
		}
	}
	return w, nil
}

// split takes "a,b" for two.
func split(values []string) (out []string) {
	for _, v := range values {
		out = append(out, strings.Split(v, ",")...)
	}
	return out
}

// endpointNamed is the endpoint with a number, or that of NAMESPACE/POD.
func (a *Agent) endpointNamed(name string) (state.EndpointID, error) {
	for _, e := range a.tables.Endpoints.All() {
		if e.Pod != (state.PodName{}) && e.Pod.String() == name || strconv.Itoa(int(e.ID)) == name {
			return e.ID, nil
		}
	}
	return 0, fmt.Errorf("no endpoint %q on this node: `weir endpoint list` has numbers and pods", name)
}

func (a *Agent) isWanted(w wanted, e *bpf.Event) bool {
	if !w.kinds[e.Kind&7] {
		return false
	}
	if len(w.from)+len(w.to)+len(w.related) == 0 {
		return true
	}
	src := func(id state.EndpointID) bool { return a.hasAddr(id, e.Src) }
	dst := func(id state.EndpointID) bool { return a.hasAddr(id, e.Dst) }
	either := func(id state.EndpointID) bool { return src(id) || dst(id) }
	return (len(w.from) == 0 || slices.ContainsFunc(w.from, src)) && (len(w.to) == 0 || slices.ContainsFunc(w.to, dst)) &&
		(len(w.related) == 0 || slices.ContainsFunc(w.related, either))
}

func (a *Agent) hasAddr(id state.EndpointID, addr bpf.Addr) bool {
	e, ok := a.tables.Endpoints.Get(id)
	if !ok {
		return false
	}
	ip := addr.Netip()
	return ip.IsValid() && (ip == e.IPv4 || ip == e.IPv6)
}
