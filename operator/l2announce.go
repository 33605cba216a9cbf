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
	e := in.election()
	shares := map[state.LeaseName][]candidate{}
	for _, s := range in.Services {
		if c := in.candidate(s); len(c.policies) > 0 {
			name := state.L2Lease(s.Name)
			shares[name] = append(shares[name], c)
		}
	}
	holders := map[state.LeaseName]string{}
	for _, l := range in.Leases {
		holders[l.Name] = l.Holder
	}
	var out []state.Lease
	for name, services := range shares {
		out = append(out, state.Lease{Name: name, Holder: e.holder(name, services, holders[name])})
	}
	slices.SortFunc(out, func(a, b state.Lease) int {
		return cmp.Or(cmp.Compare(a.Name.Namespace, b.Name.Namespace), cmp.Compare(a.Name.Name, b.Name.Name))
	})
	return out
}

// candidate is a service with an address to answer for.
type candidate struct {
	state.Service
	policies []int // that select it, by their places in the input
}

func (in L2Input) candidate(s state.Service) candidate {
	out := candidate{Service: s}
	for i, p := range in.Policies {
		if p.OfService(s) {
			out.policies = append(out.policies, i)
		}
	}
	return out
}

// election is what is asked of each pair of service and node, found once.
type election struct {
	nodes []string                              // that are ready and stay
	may   []map[string]bool                     // those that each policy selects
	ready map[state.ServiceName]map[string]bool // those with a ready endpoint, of services that ask for it
}

func (in L2Input) election() election {
	e := election{may: make([]map[string]bool, len(in.Policies)), ready: map[state.ServiceName]map[string]bool{}}
	for i := range e.may {
		e.may[i] = map[string]bool{}
	}
	for _, n := range in.Nodes {
		if n.Unready != "" || n.Leaves != "" {
			continue
		}
		e.nodes = append(e.nodes, n.Name)
		for i, p := range in.Policies {
			if p.OfNode(n) {
				e.may[i][n.Name] = true
			}
		}
	}
	for _, s := range in.Services {
		if s.ExternalLocal {
			e.ready[s.Name] = map[string]bool{}
		}
	}
	for _, x := range in.Slices {
		for _, end := range x.Endpoints {
			if nodes, ok := e.ready[x.Service]; ok && end.Ready {
				nodes[end.Node] = true
			}
		}
	}
	return e
}

// holder is the node that answers for all services of a lease; old is who does now,
// and is asked before the others are weighed.
func (e election) holder(name state.LeaseName, services []candidate, old string) string {
	can := func(node string) bool {
		return !slices.ContainsFunc(services, func(c candidate) bool { return !e.answers(node, c) })
	}
	if can(old) {
		return old
	}
	best, most := "", uint64(0)
	for _, n := range e.nodes {
		if !can(n) {
			continue
		}
		if weight := weightOf(name, n); best == "" || weight > most {
			best, most = n, weight
		}
	}
	return best
}

// answers reports whether a node may answer for a service, and has what to answer with.
func (e election) answers(node string, c candidate) bool {
	selected := slices.ContainsFunc(c.policies, func(i int) bool { return e.may[i][node] })
	return selected && (!c.ExternalLocal || e.ready[c.Name][node])
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
