package operator

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AgentNotReady is the key of the taint that keeps pods off a node whose agent
// cannot give them a network yet.
const AgentNotReady = "node.cilium.io/agent-not-ready"

// AgentState is how the agent of a node is doing, as far as its pod tells.
type AgentState int

// The states of a node's agent.
const (
	NoAgent       AgentState = iota // no pod of an agent is meant for the node
	AgentStarting                   // there is one, and it is not ready
	AgentReady
)

// NodeMarks says which marks the operator sets on nodes.
type NodeMarks struct {
	Taint       string // its key; empty: AgentNotReady
	RemoveTaint bool   // when the agent is ready
	SetTaint    bool   // while it is starting
	Network     bool   // the condition NetworkUnavailable
}

// Taints returns the taints that a node should have, and whether they differ
// from those it has.
func (m NodeMarks) Taints(has []corev1.Taint, agent AgentState) ([]corev1.Taint, bool) {
	key := m.Taint
	if key == "" {
		key = AgentNotReady
	}
	ours := func(t corev1.Taint) bool { return t.Key == key }
	tainted := slices.ContainsFunc(has, ours)
	switch {
	case agent == AgentReady && m.RemoveTaint && tainted:
		return slices.DeleteFunc(slices.Clone(has), ours), true
	case agent == AgentStarting && m.SetTaint && !tainted:
		return append(slices.Clone(has), corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}), true
	}
	return has, false
}

// The words of the condition, for people.
const (
	reasonUp  = "WeirIsUp"
	messageUp = "the node's agent is ready"
)

// NetworkCondition returns the condition NetworkUnavailable that a node should
// have, and whether it differs from the one it has. It is only ever taken back:
// a node whose agent restarts has a network.
func (m NodeMarks) NetworkCondition(has []corev1.NodeCondition, agent AgentState, now metav1.Time) (corev1.NodeCondition, bool) {
	if !m.Network || agent != AgentReady {
		return corev1.NodeCondition{}, false
	}
	for _, c := range has {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionFalse {
			return c, false
		}
	}
	return corev1.NodeCondition{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: reasonUp, Message: messageUp,
		LastTransitionTime: now, LastHeartbeatTime: now,
	}, true
}
