package operator

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/state"
)

// L2Input is what decides who answers for the addresses of services on the networks
// that nodes are in. Rows are as source/convert makes them.
type L2Input struct {
	Policies []state.L2Policy
	Services []state.Service
	Slices   []state.Slice
	Nodes    []state.Node
	Leases   []state.Lease // as they are; those of others are passed over
}

// L2Leases returns the leases that there should be, sorted by name: one for each
// service with an address to answer for. Others of L2 announcements (state.Lease.OfL2)
// should go. A lease without a holder is of a service that no node can answer for now.
//
// A node can when a policy that selects the service selects it, too, it is ready and
// does not leave, and, with externalTrafficPolicy Local, a ready endpoint of the
// service is on it. The holder stays while it can; another one is the node with the
// highest hash of service and node, so that services spread over the nodes, and only
// those of a node that fails move. One that returns takes nothing back.
//
// The same input gives the same leases, in whatever order it comes, so that it can be
// asked again after any change of an object, and by whoever leads.
func L2Leases(in L2Input) []state.Lease {
	shares := map[state.LeaseName][]state.Service{}
	for _, s := range in.Services {
		if slices.ContainsFunc(in.Policies, func(p state.L2Policy) bool { return p.OfService(s) }) {
			name := state.L2Lease(s.Name)
			shares[name] = append(shares[name], s)
		}
	}
	holders := map[state.LeaseName]string{}
	for _, l := range in.Leases {
		holders[l.Name] = l.Holder
	}
	var out []state.Lease
	for name, services := range shares {
		out = append(out, state.Lease{Name: name, Holder: in.holder(name, services, holders[name])})
	}
	slices.SortFunc(out, func(a, b state.Lease) int {
		return cmp.Or(cmp.Compare(a.Name.Namespace, b.Name.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	return out
}

// holder is the node that answers for all services of a lease; old is who does now.
func (in L2Input) holder(name state.LeaseName, services []state.Service, old string) string {
	best, most := "", uint64(0)
	for _, n := range in.Nodes {
		can := n.Unready == "" && n.Leaves == "" && !slices.ContainsFunc(services, func(s state.Service) bool { return !in.answers(n, s) })
		switch weight := weightOf(name, n.Name); {
		case !can:
		case n.Name == old:
			return old
		case best == "" || weight > most:
			best, most = n.Name, weight
		}
	}
	return best
}

// answers reports whether a node may answer for a service, and has what to answer with.
func (in L2Input) answers(n state.Node, s state.Service) bool {
	selected := slices.ContainsFunc(in.Policies, func(p state.L2Policy) bool { return p.OfService(s) && p.OfNode(n) })
	return selected && (!s.ExternalLocal || slices.ContainsFunc(in.Slices, func(x state.Slice) bool {
		return x.Service == s.Name && slices.ContainsFunc(x.Endpoints, func(e state.SliceEndpoint) bool { return e.Ready && e.Node == n.Name })
	}))
}

// weightOf is how much a node is the one for a lease.
func weightOf(name state.LeaseName, node string) uint64 {
	sum := sha256.Sum256([]byte(name.String() + "\x00" + node))
	return binary.BigEndian.Uint64(sum[:8])
}

// LeaseObject returns the object of a lease. old is the one that is there, or nil: what
// others have written into it stays, and when its holder does, all of it.
func LeaseObject(l state.Lease, old *coordinationv1.Lease, now time.Time) *coordinationv1.Lease {
	out := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.Name.Namespace, Name: l.Name.Name}}
	if old != nil {
		out = old.DeepCopy()
	}
	out.TypeMeta = metav1.TypeMeta{APIVersion: coordinationv1.SchemeGroupVersion.String(), Kind: "Lease"}
	if was := out.Spec.HolderIdentity; was != nil && *was == l.Holder || was == nil && l.Holder == "" {
		return out
	}
	if old != nil {
		moves := int32(1)
		if n := out.Spec.LeaseTransitions; n != nil {
			moves += *n
		}
		out.Spec.LeaseTransitions = &moves
	}
	out.Spec.HolderIdentity, out.Spec.AcquireTime, out.Spec.RenewTime = nil, nil, nil
	if l.Holder != "" {
		at := metav1.NewMicroTime(now)
		out.Spec.HolderIdentity, out.Spec.AcquireTime, out.Spec.RenewTime = &l.Holder, &at, &at
	}
	return out
}
