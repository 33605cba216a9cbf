package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/api/agent"
	"weir/api/v1"
	"weir/bench/rules"
	"weir/operator"
	"weir/source/convert"
	"weir/state"
)

// writePolicies writes the objects of all rules into one file.
func (c *Cluster) writePolicies() error {
	var objects []any
	for _, o := range rules.Objects(c.Rules) {
		objects = append(objects, o)
	}
	if len(objects) == 0 {
		return nil
	}
	swap, err := c.prepare(filepath.Join(c.objects(), "policies.yaml"), objects...)
	if err != nil {
		return err
	}
	return swap()
}

// Objects is the number of policy objects that the rules are written in.
func (c *Cluster) Objects() int { return len(rules.Objects(c.Rules)) }

// Prepare writes one policy object beside its place; swap puts it there, which
// is when agents see it.
func (c *Cluster) Prepare(o *networkingv1.NetworkPolicy) (swap func() error, err error) {
	return c.prepare(filepath.Join(c.objects(), "policy-"+o.Name+".yaml"), o)
}

// PoliciesInForce waits until every policy is in force on the node, and there
// are so many.
func (n *Node) PoliciesInForce(ctx context.Context, count int) error {
	states := map[string]int{}
	err := n.poll(ctx, func(ctx context.Context) bool {
		var list []agent.Policy
		if n.client.Get(ctx, agent.PathPolicies, &list) != nil {
			return false
		}
		clear(states)
		for _, p := range list {
			states[p.State]++
		}
		return states[inForce] == count && len(list) == count
	})
	if err != nil {
		return fmt.Errorf("wait for %d policies, have %v: %w", count, states, err)
	}
	return nil
}

// inForce is what the agent says of a policy that is.
const inForce = "in force"

// writeIdentity gives the pod's labels their number, as the operator does. All
// pods of a cluster have the same.
func (c *Cluster) writeIdentity(pod *corev1.Pod) error {
	c.identity.Do(func() { c.identityErr = c.makeIdentity(pod) })
	return c.identityErr
}

// makeIdentity writes the identity with the labels that the rules select by.
func (c *Cluster) makeIdentity(pod *corev1.Pod) error {
	row, err := convert.Pod(pod)
	if err != nil {
		return err
	}
	visible, err := rules.Visible(rules.Objects(c.Rules))
	if err != nil {
		return err
	}
	for _, id := range operator.Identities([]state.Pod{row}, nil, visible, "bench", nil) {
		o := v1.CiliumIdentity{
			TypeMeta:       metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumIdentity},
			ObjectMeta:     metav1.ObjectMeta{Name: id.ID.String()},
			SecurityLabels: map[string]string{},
		}
		for _, l := range id.Labels {
			key, value, _ := strings.Cut(l, "=")
			o.SecurityLabels[key] = value
		}
		if err := c.write(filepath.Join(c.objects(), "identity-"+o.Name+".yaml"), o); err != nil {
			return err
		}
	}
	return nil
}
