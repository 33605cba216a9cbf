package path

import (
	"context"
	"fmt"

	"weir/bench/cluster"
)

// Names of the paths that differ in what programs tell of only: Untold has drops,
// Told what an agent asks for by default.
const (
	Untold         = "same node, no events"
	UntoldControl  = "same node, no events, other nodes (A/A)"
	Told           = "same node, events"
	UntoldFar      = "two nodes VXLAN, no events"
	UntoldFarAgain = "two nodes VXLAN, no events, other nodes (A/A)"
	ToldFar        = "two nodes VXLAN, events"
)

// MakeEvents makes three clusters: two without events, and one with. Close it in any
// case.
func MakeEvents(ctx context.Context, prefix, dir, bin string) (*Set, error) {
	s := &Set{prefix: prefix, dir: dir, bin: bin}
	return s, s.make(ctx,
		func(ctx context.Context) error { return s.events(ctx, "eu", 64, true, Untold, UntoldFar) },
		func(ctx context.Context) error { return s.events(ctx, "ea", 65, true, UntoldControl, UntoldFarAgain) },
		func(ctx context.Context) error { return s.events(ctx, "et", 66, false, Told, ToldFar) })
}

// events makes a cluster, and in it a client with a server on each node.
func (s *Set) events(ctx context.Context, short string, second byte, quiet bool, near, far string) error {
	c, err := s.up(ctx, short, cluster.Spec{Nodes: 2, Second: second, Quiet: quiet})
	if err != nil {
		return err
	}
	client, err := s.weirPod(c, 0, "a")
	if err != nil {
		return err
	}
	for node, name := range []string{near, far} {
		p, err := s.weirPod(c, node, fmt.Sprintf("s%d", node))
		if err != nil {
			return err
		}
		s.add(name, client.Netns, p.Netns, p.IPs[0].String())
	}
	return nil
}
