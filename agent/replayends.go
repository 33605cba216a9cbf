package agent

import (
	"cmp"
	"fmt"

	"weir/control/policy"
	"weir/observe"
	"weir/state"
)

// party is whom an end of then is judged as. why says that nobody knows.
func (r *replay) party(e observe.RecalledEnd) (p policy.Party, why string) {
	id, now, row := state.IdentityID(e.Identity), r.a.owner(e.Addr), r.a.rowOf(e.Addr)
	ofPod := row.Endpoint != 0 || row.Source == state.IPPod
	switch {
	case e.Pod != (state.PodName{}):
		if ofPod && row.Of == e.Pod.String() {
			return now, "" // as its labels are now
		}
	case e.Endpoint != 0:
		if uint32(row.Endpoint) == e.Endpoint {
			return now, ""
		}
	case id == 0, now.Identity == id:
		return now, ""
	case id.Reserved() != "":
		if ofPod && r.t.SeesMore() { // the query would take it for that pod
			return p, fmt.Sprintf("%s is an address of %s now", e.Addr, row.Of)
		}
		return policy.Party{Addr: e.Addr, Identity: id, Local: id == state.IdentityHost}, ""
	}
	return r.gone(e)
}

// gone is whom an end is judged as that is no more: whoever has its identity, at the
// address that it had. Whose that is now does not count.
func (r *replay) gone(e observe.RecalledEnd) (p policy.Party, why string) {
	id := state.IdentityID(e.Identity)
	if _, known := r.a.tables.Identities.Get(id); !known {
		return p, fmt.Sprintf("the pod is gone, and nobody knows the labels of its identity %d any more", id)
	}
	if r.t.SeesMore() {
		return p, fmt.Sprintf("the pod is gone, and its identity %d does not tell all labels that the policies ask for", id)
	}
	p.Identity, p.Addr = id, e.Addr
	if e.Endpoint == 0 {
		return p, ""
	}
	for _, x := range r.a.tables.Endpoints.Rows(func(x, y state.Endpoint) int { return cmp.Compare(x.ID, y.ID) }) {
		if x.Identity == id {
			p.Endpoint, p.Local = x.ID, true
			return p, ""
		}
	}
	return p, fmt.Sprintf("the pod is gone, and no endpoint of this node has its identity %d", id)
}

func (r *replay) name(e observe.RecalledEnd, dest bool) string {
	id := state.IdentityID(e.Identity)
	switch name := r.a.nameOf(id, state.IP{}); {
	case e.Workload.Name != "":
		return e.Workload.Kind + " " + state.PodName{Namespace: e.Pod.Namespace, Name: e.Workload.Name}.String()
	case e.Pod != (state.PodName{}):
		return e.Pod.String()
	case name != "" && dest && isWorld(id):
		return name + " " + e.Addr.String()
	case name != "":
		return name
	}
	return fmt.Sprintf("identity %d", id)
}

func isWorld(id state.IdentityID) bool {
	return id == state.IdentityWorld || id == state.IdentityWorldIPv4 || id == state.IdentityWorldIPv6
}

func replayedPort(proto uint8, port uint16) string {
	name := state.ProtoName(proto)
	switch {
	case isICMP(proto):
		return fmt.Sprintf("type %d/%s", port, name)
	case port == 0:
		return name
	}
	return fmt.Sprintf("%d/%s", port, name)
}
