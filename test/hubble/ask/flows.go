package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cilium/cilium/api/v1/flow"
	"github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// read reads flows until one is the last, or the stream ends. One that follows does not end
// by itself.
func (a *asker) read(ctx context.Context, q *observer.GetFlowsRequest, last func(*flow.Flow) bool) (out []*flow.Flow, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.observer.GetFlows(ctx, q)
	if err != nil {
		return nil, err
	}
	for done := false; ; {
		r, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && !q.Follow, done && status.Code(err) == codes.Canceled:
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("after %d flows: %w", len(out), err)
		}
		if err := known(r); err != nil {
			return nil, err
		}
		f := r.GetFlow()
		if f == nil {
			continue // what is said of nodes, or lost
		}
		if r.NodeName != f.NodeName || !r.Time.AsTime().Equal(f.Time.AsTime()) {
			return nil, fmt.Errorf("a reply of %s and %v has a flow of %s and %v", r.NodeName, r.Time.AsTime(), f.NodeName, f.Time.AsTime())
		}
		if out = append(out, f); last != nil && last(f) {
			done = true
			cancel()
		}
	}
}

// tellers counts flows by the node that tells, of which each has to tell some.
func (a *asker) tellers(flows []*flow.Flow) (string, error) {
	count := map[string]int{}
	for _, f := range flows {
		count[f.NodeName]++
	}
	var err error
	if have := slices.Sorted(maps.Keys(count)); !slices.Equal(have, a.want.tell) {
		err = fmt.Errorf("%d flows, told by %q, want %q", len(flows), have, a.want.tell)
	}
	return fmt.Sprintf("%d flows, by nodes %v", len(flows), count), err
}

func (a *asker) fromPod() *flow.FlowFilter { return &flow.FlowFilter{SourcePod: []string{a.want.pod}} }

func (a *asker) last(ctx context.Context) (string, error) {
	const number = 20
	flows, err := a.read(ctx, &observer.GetFlowsRequest{Number: number, Whitelist: []*flow.FlowFilter{a.fromPod()}}, nil)
	if err != nil {
		return "", err
	}
	if len(flows) != number {
		return "", fmt.Errorf("%d flows, want %d", len(flows), number)
	}
	if !slices.IsSortedFunc(flows, func(a, b *flow.Flow) int { return a.Time.AsTime().Compare(b.Time.AsTime()) }) {
		return "", errors.New("they are not in the order of time")
	}
	return a.tellers(flows)
}

func podOf(e *flow.Endpoint) string { return e.GetNamespace() + "/" + e.GetPodName() }

// filtered asks with filters of which each lets flows through, and only its own.
func (a *asker) filtered(ctx context.Context) (string, error) {
	port, dropped, teller := a.fromPod(), a.fromPod(), a.fromPod()
	port.DestinationPort = []string{"80"}
	dropped.Verdict = []flow.Verdict{flow.Verdict_DROPPED}
	teller.NodeName = a.want.tell[:1]
	var said []string
	for _, x := range []struct {
		name   string
		filter *flow.FlowFilter
		has    func(*flow.Flow) bool
	}{
		{"port 80", port, func(f *flow.Flow) bool {
			return f.L4.GetTCP().GetDestinationPort() == 80 && f.Verdict == flow.Verdict_FORWARDED
		}},
		{"dropped", dropped, func(f *flow.Flow) bool {
			return f.L4.GetTCP().GetDestinationPort() == 81 && f.Verdict == flow.Verdict_DROPPED && f.NodeName == a.want.tell[len(a.want.tell)-1]
		}},
		{a.want.tell[0], teller, func(f *flow.Flow) bool { return f.NodeName == a.want.tell[0] }},
	} {
		flows, err := a.read(ctx, &observer.GetFlowsRequest{Number: 10, Whitelist: []*flow.FlowFilter{x.filter}}, nil)
		if err != nil {
			return "", fmt.Errorf("%s: %w", x.name, err)
		}
		if len(flows) == 0 {
			return "", fmt.Errorf("%s: no flow", x.name)
		}
		for _, f := range flows {
			if podOf(f.Source) != a.want.pod || !x.has(f) {
				return "", fmt.Errorf("%s: got %v", x.name, f)
			}
		}
		said = append(said, fmt.Sprintf("%s %d", x.name, len(flows)))
	}
	return strings.Join(said, ", "), nil
}

// follow takes flows until each node has told of one that came a second after the request,
// and then wants no more.
func (a *asker) follow(ctx context.Context) (string, error) {
	asked := time.Now()
	fresh := map[string]bool{}
	flows, err := a.read(ctx, &observer.GetFlowsRequest{Follow: true, Whitelist: []*flow.FlowFilter{a.fromPod()}}, func(f *flow.Flow) bool {
		if f.Time.AsTime().After(asked.Add(time.Second)) {
			fresh[f.NodeName] = true
		}
		return len(fresh) == len(a.want.tell)
	})
	if err != nil {
		return "", fmt.Errorf("%w; new ones were told by %v", err, fresh)
	}
	// Nothing of before was asked for; the time is the packet's, and it takes a moment to be read.
	if old := flows[0].Time.AsTime(); old.Before(asked.Add(-time.Second)) {
		return "", fmt.Errorf("the first flow is %v older than the request", asked.Sub(old))
	}
	said, err := a.tellers(flows)
	return fmt.Sprintf("%s within %v", said, time.Since(asked).Round(10*time.Millisecond)), err
}
