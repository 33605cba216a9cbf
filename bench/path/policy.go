package path

import (
	"context"
	"fmt"
)

// Names of the paths that differ in the policies in force only. The second of
// each pair has Rules of them.
const (
	Free         = "same node, no policy"
	FreeControl  = "same node, no policy, other pods (A/A)"
	Ruled        = "same node, with rules"
	FreeFar      = "two nodes VXLAN, no policy"
	FreeFarAgain = "two nodes VXLAN, no policy, other pods (A/A)"
	RuledFar     = "two nodes VXLAN, with rules"
)

// MakePolicy makes two clusters, the second with so many rules in force. Close
// it in any case.
func MakePolicy(ctx context.Context, prefix, dir, bin string, rules int) (*Set, error) {
	s := &Set{prefix: prefix, dir: dir, bin: bin}
	return s, s.make(ctx,
		func(ctx context.Context) error {
			return s.policy(ctx, "pf", 56, 0, []string{Free, FreeControl}, []string{FreeFar, FreeFarAgain})
		},
		func(ctx context.Context) error {
			if err := s.policy(ctx, "pr", 57, rules, []string{Ruled}, []string{RuledFar}); err != nil {
				return err
			}
			c := s.Clusters[len(s.Clusters)-1]
			for _, n := range c.Nodes {
				if err := n.PoliciesInForce(ctx, c.Objects()); err != nil {
					return fmt.Errorf("node %s: %w", n.Name, err)
				}
			}
			return nil
		})
}

// policy makes a cluster, and in it a client with a server for each path.
func (s *Set) policy(ctx context.Context, short string, second byte, rules int, near, far []string) error {
	c, err := s.weir(ctx, short, false, second, rules)
	if err != nil {
		return err
	}
	client, err := s.weirPod(c, 0, "a")
	if err != nil {
		return err
	}
	for node, names := range [][]string{near, far} {
		for i, name := range names {
			p, err := s.weirPod(c, node, fmt.Sprintf("s%d-%d", node, i))
			if err != nil {
				return err
			}
			s.add(name, client.Netns, p.Netns, p.IPs[0].String())
		}
	}
	return nil
}
