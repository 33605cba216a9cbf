package metrics

import (
	"strconv"

	"weir/state"
)

// done is what came of objects of a kind that said something new.
type done struct{ kind, action, status string }

// heard tells what an API server told. With files there is none.
func (n Node) heard(out Out) {
	all := map[done]uint64{}
	for _, h := range n.Heard() {
		out.Put(heardReceived, float64(h.Count), h.Kind, h.Action, strconv.FormatBool(h.Valid), strconv.FormatBool(h.Equal))
		if h.Equal {
			continue
		}
		status := "success"
		if !h.Valid {
			status = "failed"
		}
		all[done{h.Kind, h.Action, status}] += h.Count
	}
	for d, count := range all {
		out.Put(heardDone, float64(count), d.kind, d.action, d.status)
	}
	byKind(all, out)
}

// operations are the words that the field has for the same.
var operations = map[string]string{"create": "add", "update": "update", "delete": "delete"}

// byKind tells of some kinds under names of their own.
func byKind(all map[done]uint64, out Out) {
	services, policies, nodes := map[string]uint64{}, map[[2]string]uint64{}, map[done]uint64{}
	for d, count := range all {
		op := operations[d.action]
		switch d.kind {
		case "Service":
			services[op] += count
		case "Node", "CiliumNode":
			nodes[done{kind: d.kind, action: op}] += count
		case state.KindNetworkPolicy, state.KindCNP, state.KindCCNP:
			policies[[2]string{op, map[string]string{"success": "success", "failed": "fail"}[d.status]}] += count
		}
	}
	for op, count := range services {
		out.Put(serviceEvents, float64(count), op)
	}
	for d, count := range nodes {
		out.Put(nodeEvents, float64(count), d.action, map[string]string{"Node": "k8s", "CiliumNode": "custom-resource"}[d.kind])
	}
	for k, count := range policies {
		out.Put(policyChanges, float64(count), "k8s", k[0], k[1])
	}
}
