package observe

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/flow"
	"weir/api/observer"
	"weir/internal/table"
	"weir/state"
)

// agentEventsKept is how many there are to look back at.
const agentEventsKept = 1024

// agentEvents is what the agent did, as the tables tell it: it started, endpoints came and
// went, policies changed.
type agentEvents struct {
	started time.Time

	mu   sync.Mutex
	kept []*observer.GetAgentEventsResponse // the latest, oldest first
	next uint64                             // number of the next one, from 0
	wake chan struct{}                      // closed by the next one
}

// run notes changes until ctx ends.
func (a *agentEvents) run(ctx context.Context, t *state.Tables) error {
	a.add(&flow.AgentEvent{Type: flow.AgentEventType_AGENT_STARTED,
		Notification: &flow.AgentEvent_AgentStart{AgentStart: &flow.TimeNotification{Time: timestamppb.New(a.started)}}})
	changed := make(chan struct{}, 1)
	defer t.Endpoints.Notify(changed)()
	defer t.Policies.Notify(changed)()
	seen := seen{endpoints: map[state.EndpointID]state.Endpoint{}, policies: map[state.PolicyKey]bool{}}
	for {
		for _, e := range seen.read(t) {
			a.add(e)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// seen is what the tables had.
type seen struct {
	known                         bool // the endpoints that were there from the start
	sinceEndpoints, sincePolicies uint64
	endpoints                     map[state.EndpointID]state.Endpoint
	policies                      map[state.PolicyKey]bool
}

// read returns what has happened since. Rows that are there from the start are not events.
func (s *seen) read(t *state.Tables) []*flow.AgentEvent {
	var out []*flow.AgentEvent
	quiet := !s.known
	s.known = t.Endpoints.Synced()
	changes, now, whole := t.Endpoints.Changes(s.sinceEndpoints)
	for _, c := range withGone(changes, whole, s.endpoints) {
		old, was := s.endpoints[c.Key]
		if was && (c.Deleted || old.ContainerID != c.Row.ContainerID) {
			out = append(out, endpointEvent(flow.AgentEventType_ENDPOINT_DELETED, old))
			delete(s.endpoints, c.Key)
			was = false
		}
		if c.Deleted {
			continue
		}
		if !was && !quiet {
			out = append(out, endpointEvent(flow.AgentEventType_ENDPOINT_CREATED, c.Row))
		}
		s.endpoints[c.Key] = c.Row
	}
	s.sinceEndpoints = now
	policies, now, whole := t.Policies.Changes(s.sincePolicies)
	for _, c := range withGone(policies, whole, s.policies) {
		switch {
		case c.Deleted && s.policies[c.Key]:
			delete(s.policies, c.Key)
			out = append(out, policyEvent(flow.AgentEventType_POLICY_DELETED, c.Key, 0))
		case !c.Deleted:
			s.policies[c.Key] = true
			out = append(out, policyEvent(flow.AgentEventType_POLICY_UPDATED, c.Key, rulesOf(c.Row)))
		}
	}
	s.sincePolicies = now
	return out
}

// withGone adds to the changes of a table, if they are all its rows, those that it had and
// has no more.
func withGone[K comparable, R, S any](changes []table.Change[K, R], whole bool, had map[K]S) []table.Change[K, R] {
	if !whole {
		return changes
	}
	there := map[K]bool{}
	for _, c := range changes {
		there[c.Key] = true
	}
	for k := range had {
		if !there[k] {
			changes = append(changes, table.Change[K, R]{Key: k, Deleted: true})
		}
	}
	return changes
}

func rulesOf(p state.Policy) int64 {
	var n int64
	for _, s := range p.Specs {
		n += int64(len(s.Ingress) + len(s.Egress))
	}
	return n
}

func endpointEvent(kind flow.AgentEventType, e state.Endpoint) *flow.AgentEvent {
	return &flow.AgentEvent{Type: kind, Notification: &flow.AgentEvent_EndpointUpdate{EndpointUpdate: &flow.EndpointUpdateNotification{
		Id: uint64(e.ID), Labels: e.Labels, PodName: e.Pod.Name, Namespace: e.Pod.Namespace}}}
}

func policyEvent(kind flow.AgentEventType, k state.PolicyKey, rules int64) *flow.AgentEvent {
	return &flow.AgentEvent{Type: kind, Notification: &flow.AgentEvent_PolicyUpdate{PolicyUpdate: &flow.PolicyUpdateNotification{
		Labels: toldPolicies([]state.PolicyKey{k}, 0).told[0].Labels, RuleCount: rules}}}
}

func (a *agentEvents) add(e *flow.AgentEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = append(a.kept, &observer.GetAgentEventsResponse{AgentEvent: e, Time: timestamppb.Now()})
	if len(a.kept) > agentEventsKept {
		a.kept = a.kept[len(a.kept)-agentEventsKept:]
	}
	a.next++
	if a.wake != nil {
		close(a.wake)
		a.wake = nil
	}
}

// from returns what is kept from a number on, and what tells of more.
func (a *agentEvents) from(number uint64) (list []*observer.GetAgentEventsResponse, next uint64, wake <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wake == nil {
		a.wake = make(chan struct{})
	}
	oldest := a.next - uint64(len(a.kept))
	return append(list, a.kept[max(number, oldest)-oldest:]...), a.next, a.wake
}

// send sends what is asked for. Messages are copied, since each stream adds to its own.
func (a *agentEvents) send(ctx context.Context, q *observer.GetAgentEventsRequest, send func(*observer.GetAgentEventsResponse) error) error {
	since, err := moment("since", q.Since)
	if err != nil {
		return err
	}
	until, err := moment("until", q.Until)
	if err != nil {
		return err
	}
	if q.First && q.Follow {
		return status.Error(codes.InvalidArgument, "first and follow exclude each other: leave one out")
	}
	wanted := func(e *observer.GetAgentEventsResponse) bool {
		at := e.Time.AsTime().UnixNano()
		return at >= since && (until == 0 || at <= until)
	}
	list, next, wake := a.from(0)
	if q.Follow && q.Number == 0 && since == 0 {
		list = nil
	}
	list = cut(list, wanted, q.Number, q.First)
	for {
		for _, e := range list {
			if err := send(&observer.GetAgentEventsResponse{AgentEvent: e.AgentEvent, Time: e.Time}); err != nil {
				return err
			}
		}
		if !q.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
		list, next, wake = a.from(next)
		list = cut(list, wanted, 0, false)
	}
}

// cut leaves what is wanted, and of it the first or last so many; 0 is all.
func cut(list []*observer.GetAgentEventsResponse, wanted func(*observer.GetAgentEventsResponse) bool, number uint64, first bool) []*observer.GetAgentEventsResponse {
	var out []*observer.GetAgentEventsResponse
	for _, e := range list {
		if wanted(e) {
			out = append(out, e)
		}
	}
	switch {
	case number == 0 || number >= uint64(len(out)):
		return out
	case first:
		return out[:number]
	}
	return out[uint64(len(out))-number:]
}
