package run

import (
	"cmp"
	"errors"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"weir/api/client"
	v1 "weir/api/v1"
	"weir/internal/reconcile"
	"weir/internal/table"
	"weir/source/convert"
	"weir/state"
)

// l2Tables is what decides, beside services, who holds the leases of L2
// announcements.
type l2Tables struct {
	policies *table.Table[string, state.L2Policy]
	slices   *table.Table[state.SliceName, state.Slice] // of an endpoint: whether its node has a ready one
	nodes    *table.Table[string, state.Node]
	leases   *table.Table[state.LeaseName, object[*coordinationv1.Lease]] // of L2 announcements alone
}

func newL2Tables() l2Tables {
	return l2Tables{
		policies: table.New("ciliuml2announcementpolicies", func(r state.L2Policy) string { return r.Name }),
		slices:   table.New("endpointslices", func(r state.Slice) state.SliceName { return r.Name }),
		nodes:    table.New("l2nodes", func(r state.Node) string { return r.Name }),
		leases:   table.New("leases", func(r object[*coordinationv1.Lease]) state.LeaseName { return leaseName(r.o) }),
	}
}

func (t l2Tables) inputs(services reconcile.Input) []reconcile.Input {
	return []reconcile.Input{t.policies, t.slices, t.nodes, t.leases, services}
}

func (o *Operator) l2Watches(t *tables, scope convert.Scope) []watch {
	leases := follow(o.kube.CoordinationV1().RESTClient(), "leases", &coordinationv1.Lease{}, some[*coordinationv1.Lease]{ofL2,
		into(t.l2.leases, leaseName, func(l *coordinationv1.Lease) object[*coordinationv1.Lease] { return object[*coordinationv1.Lease]{l} }, sameVersion)})
	leases.from = state.L2LeaseNamespace
	return []watch{
		leases,
		follow(o.ours.RawAlphaREST(), v1.ResourceL2Policies, &client.Raw{}, judged(t.l2.policies, plainName, asAgents[state.L2Policy](v1.APIVersionL2Policy, v1.KindL2Policy, scope),
			func(p *client.Raw) state.L2Policy { return state.L2Policy{Name: p.Name} }, state.L2Policy.Same)),
		follow(o.kube.DiscoveryV1().RESTClient(), "endpointslices", &discoveryv1.EndpointSlice{}, judged(t.l2.slices, sliceName, slimSlice,
			func(s *discoveryv1.EndpointSlice) state.Slice { return state.Slice{Name: sliceName(s)} }, state.Slice.Same)),
	}
}

// nodeSink makes rows of nodes. One that is not understood is not counted on.
func (t l2Tables) nodeSink(scope convert.Scope) cache.ReflectorStore {
	return into(t.nodes, plainName, func(o *corev1.Node) state.Node {
		n, err := convert.Node(o, scope)
		if err != nil {
			return state.Node{Name: o.Name, Unready: err.Error()}
		}
		return n
	}, state.Node.Same)
}

func leaseName(o *coordinationv1.Lease) state.LeaseName {
	return state.LeaseName{Namespace: o.Namespace, Name: o.Name}
}

func ofL2(o *coordinationv1.Lease) bool { return state.Lease{Name: leaseName(o)}.OfL2() }

func sliceName(o *discoveryv1.EndpointSlice) state.SliceName {
	return state.SliceName{Namespace: o.Namespace, Name: o.Name}
}

// slimSlice keeps each node with a ready endpoint once: endpoints that come and go
// wake nobody as long as these are the same.
func slimSlice(o *discoveryv1.EndpointSlice) (state.Slice, error) {
	s, err := convert.EndpointSlice(o)
	out := state.Slice{Name: s.Name, Service: s.Service}
	for _, e := range s.Endpoints {
		if e.Ready && e.Node != "" {
			out.Endpoints = append(out.Endpoints, state.SliceEndpoint{Node: e.Node, Ready: true})
		}
	}
	byNode := func(a, b state.SliceEndpoint) int { return cmp.Compare(a.Node, b.Node) }
	slices.SortFunc(out.Endpoints, byNode)
	out.Endpoints = slices.CompactFunc(out.Endpoints, func(a, b state.SliceEndpoint) bool { return a.Node == b.Node })
	return out, err
}

// some passes on the objects that are wanted.
type some[O kubeObject] struct {
	want func(O) bool
	cache.ReflectorStore
}

func (s some[O]) wants(obj any) bool {
	o, ok := obj.(O)
	return !ok || s.want(o) // what is no such object is complained of further on
}

// Add implements cache.ReflectorStore.
func (s some[O]) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s some[O]) Update(obj any) error {
	if !s.wants(obj) {
		return nil
	}
	return s.ReflectorStore.Update(obj)
}

// Delete implements cache.ReflectorStore.
func (s some[O]) Delete(obj any) error {
	if !s.wants(obj) {
		return nil
	}
	return s.ReflectorStore.Delete(obj)
}

// Replace implements cache.ReflectorStore.
func (s some[O]) Replace(list []any, version string) error {
	return s.ReflectorStore.Replace(slices.DeleteFunc(slices.Clone(list), func(obj any) bool { return !s.wants(obj) }), version)
}

// both makes rows of two tables out of the objects of one watch.
type both struct{ a, b cache.ReflectorStore }

// Add implements cache.ReflectorStore.
func (s both) Add(obj any) error { return errors.Join(s.a.Add(obj), s.b.Add(obj)) }

// Update implements cache.ReflectorStore.
func (s both) Update(obj any) error { return errors.Join(s.a.Update(obj), s.b.Update(obj)) }

// Delete implements cache.ReflectorStore.
func (s both) Delete(obj any) error { return errors.Join(s.a.Delete(obj), s.b.Delete(obj)) }

// Replace implements cache.ReflectorStore.
func (s both) Replace(list []any, version string) error {
	return errors.Join(s.a.Replace(list, version), s.b.Replace(list, version))
}

// Resync implements cache.ReflectorStore.
func (both) Resync() error { return nil }
