package convert

import "weir/state"

// Nodes merges the two kinds that speak of nodes: a CiliumNode says how a node is
// reached, the Node of its name which labels it has, and whether it is ready and
// stays. Its zero value has no nodes.
type Nodes struct {
	core, own map[string]state.Node
}

// PutCore takes the row of a Node.
func (n *Nodes) PutCore(row state.Node) {
	if n.core == nil {
		n.core = map[string]state.Node{}
	}
	n.core[row.Name] = row
}

// PutOwn takes the row of a CiliumNode.
func (n *Nodes) PutOwn(row state.Node) {
	if n.own == nil {
		n.own = map[string]state.Node{}
	}
	n.own[row.Name] = row
}

// DropCore forgets a Node.
func (n *Nodes) DropCore(name string) { delete(n.core, name) }

// DropOwn forgets a CiliumNode.
func (n *Nodes) DropOwn(name string) { delete(n.own, name) }

// Get returns what both say of a node, and whether any does.
func (n *Nodes) Get(name string) (state.Node, bool) {
	row, ok := n.own[name]
	core, known := n.core[name]
	if !ok {
		return core, known
	}
	if known {
		row.Labels, row.Leaves, row.Unready = core.Labels, core.Leaves, core.Unready
	}
	return row, true
}

// All returns the merged rows.
func (n *Nodes) All() []state.Node {
	var out []state.Node
	for name := range n.own {
		row, _ := n.Get(name)
		out = append(out, row)
	}
	for name, row := range n.core {
		if _, merged := n.own[name]; !merged {
			out = append(out, row)
		}
	}
	return out
}
