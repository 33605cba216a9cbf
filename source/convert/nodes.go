package convert

import "weir/state"

// Nodes merges the two kinds that speak of nodes: a CiliumNode says how a node is
// reached, the Node of its name which labels it has, and whether it is ready and
// stays. Its zero value has no nodes.
//
// A CiliumNode that goes while the Node stays was taken away by mistake: the operator
// makes it again as it was. Until it does, what it said last counts.
type Nodes struct {
	core, own map[string]state.Node
	last      map[string]state.Node // of CiliumNodes that went before their Nodes
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
	delete(n.last, row.Name)
}

// DropCore forgets a Node.
func (n *Nodes) DropCore(name string) {
	delete(n.core, name)
	delete(n.last, name)
}

// DropOwn forgets a CiliumNode, unless its Node is there.
func (n *Nodes) DropOwn(name string) {
	row, was := n.own[name]
	delete(n.own, name)
	if _, stays := n.core[name]; !was || !stays {
		return
	}
	if n.last == nil {
		n.last = map[string]state.Node{}
	}
	n.last[name] = row
}

// Get returns what both say of a node, and whether any does.
func (n *Nodes) Get(name string) (state.Node, bool) {
	row, ok := n.own[name]
	core, known := n.core[name]
	if last, went := n.last[name]; !ok && went {
		if row, ok = last, true; len(core.Addresses) > 0 {
			row.Addresses = core.Addresses // the newer ones
		}
	}
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
	for name := range n.core {
		if _, merged := n.own[name]; !merged {
			row, _ := n.Get(name)
			out = append(out, row)
		}
	}
	return out
}
