package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"weir/operator"
)

// marks keeps taints and conditions of nodes in step with their agents.
type marks struct {
	o *Operator
	t *tables
}

func newMarks(o *Operator, t *tables) *marks { return &marks{o: o, t: t} }

// agents says how the agent of each node is that has one.
func (t *tables) agentStates() map[string]operator.AgentState {
	out := map[string]operator.AgentState{}
	for _, r := range t.agents.All() {
		if r.o.Spec.NodeName != "" && r.o.DeletionTimestamp == nil {
			out[r.o.Spec.NodeName] = max(out[r.o.Spec.NodeName], agentState(r.o))
		}
	}
	return out
}

func agentState(p *corev1.Pod) operator.AgentState {
	ready := func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }
	if slices.ContainsFunc(p.Status.Conditions, ready) {
		return operator.AgentReady
	}
	return operator.AgentStarting
}

func (d *marks) step(ctx context.Context) error {
	agents := d.t.agentStates()
	var errs []error
	for name, r := range d.t.nodes.All() {
		if ctx.Err() != nil {
			break
		}
		if err := d.mark(ctx, r.o, agents[name]); err != nil {
			errs = append(errs, fmt.Errorf("mark Node %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// mark writes what differs. Both patches name the version that was read, since
// they replace lists.
func (d *marks) mark(ctx context.Context, n *corev1.Node, agent operator.AgentState) error {
	m := d.o.cfg.Marks()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if taints, changed := m.Taints(n.Spec.Taints, agent); changed {
		d.o.log.Info("taints change", "node", n.Name, "ready", agent == operator.AgentReady, "taints", taints)
		out, err := d.o.kube.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, patch(n, "spec", map[string]any{"taints": taints}), metav1.PatchOptions{})
		if err != nil {
			return overtaken(err)
		}
		n = out
	}
	c, changed := m.NetworkCondition(n.Status.Conditions, agent, metav1.Now())
	if !changed {
		return nil
	}
	conditions := slices.DeleteFunc(slices.Clone(n.Status.Conditions), func(o corev1.NodeCondition) bool { return o.Type == c.Type })
	_, err := d.o.kube.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType,
		patch(n, "status", map[string]any{"conditions": append(conditions, c)}), metav1.PatchOptions{}, "status")
	return overtaken(err)
}
