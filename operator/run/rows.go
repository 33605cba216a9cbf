package run

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "weir/api/v1"
	"weir/internal/table"
	"weir/source/convert"
	"weir/state"
)

// object is a row that is an object, as far as the duties read it.
type object[O kubeObject] struct{ o O }

// Columns implements table.Row.
func (r object[O]) Columns() []string { return []string{r.o.GetNamespace() + "/" + r.o.GetName()} }

func sameVersion[O kubeObject](a, b object[O]) bool {
	return a.o.GetUID() == b.o.GetUID() && a.o.GetResourceVersion() == b.o.GetResourceVersion()
}

// name is the key of objects in namespaces.
type name = state.PodName

func nameOf[O kubeObject](o O) name { return name{Namespace: o.GetNamespace(), Name: o.GetName()} }

func plainName[O kubeObject](o O) string { return o.GetName() }

// policy is a policy, and what its status says.
type policy struct {
	key     state.PolicyKey
	row     state.Policy // the last version that was accepted
	known   bool         // there was one
	refused error        // why the version at hand is not row
	status  []v1.PolicyCondition
	version string
	uid     types.UID
}

// Columns implements table.Row.
func (p policy) Columns() []string { return []string{p.key.String()} }

// tables is what the operator knows of the cluster.
type tables struct {
	nodes      *table.Table[string, object[*corev1.Node]]
	ours       *table.Table[string, object[*v1.CiliumNode]]
	agents     *table.Table[name, object[*corev1.Pod]]
	pods       *table.Table[name, state.Pod]
	namespaces *table.Table[string, state.Namespace]
	services   *table.Table[state.ServiceName, state.Service]
	cnps       *table.Table[state.PolicyKey, policy]
	ccnps      *table.Table[state.PolicyKey, policy]
	netpols    *table.Table[state.PolicyKey, policy]
	identities *table.Table[string, object[*v1.CiliumIdentity]]
	endpoints  *table.Table[name, object[*v1.CiliumEndpoint]]
	groups     *table.Table[string, group]

	l2 l2Tables
}

func newTables() *tables {
	key := func(p policy) state.PolicyKey { return p.key }
	return &tables{
		nodes:      table.New("nodes", func(r object[*corev1.Node]) string { return r.o.Name }),
		ours:       table.New("ciliumnodes", func(r object[*v1.CiliumNode]) string { return r.o.Name }),
		agents:     table.New("agents", func(r object[*corev1.Pod]) name { return nameOf(r.o) }),
		pods:       table.New("pods", func(r state.Pod) name { return r.Name }),
		namespaces: table.New("namespaces", func(r state.Namespace) string { return r.Name }),
		services:   table.New("services", func(r state.Service) state.ServiceName { return r.Name }),
		cnps:       table.New("ciliumnetworkpolicies", key),
		ccnps:      table.New("ciliumclusterwidenetworkpolicies", key),
		netpols:    table.New("networkpolicies", key),
		identities: table.New("ciliumidentities", func(r object[*v1.CiliumIdentity]) string { return r.o.Name }),
		endpoints:  table.New("ciliumendpoints", func(r object[*v1.CiliumEndpoint]) name { return nameOf(r.o) }),
		groups:     table.New(v1.ResourceCIDRGroups, func(r group) string { return r.Name }),
		l2:         newL2Tables(),
	}
}

// slim drops what is long and what nobody reads.
func slim(m *metav1.ObjectMeta) {
	m.ManagedFields, m.Annotations, m.Finalizers, m.OwnerReferences = nil, nil, nil, nil
}

// slimNode leaves the object as it is: it becomes a row of l2Tables, too.
func slimNode(o *corev1.Node) object[*corev1.Node] {
	out := &corev1.Node{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
	slim(&out.ObjectMeta)
	out.Labels = nil
	out.Status = corev1.NodeStatus{Addresses: o.Status.Addresses, Conditions: o.Status.Conditions}
	return object[*corev1.Node]{out}
}

func slimAgent(o *corev1.Pod) object[*corev1.Pod] {
	meta := metav1.ObjectMeta{Name: o.Name, Namespace: o.Namespace, UID: o.UID, ResourceVersion: o.ResourceVersion, DeletionTimestamp: o.DeletionTimestamp}
	return object[*corev1.Pod]{&corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: o.Spec.NodeName}, Status: corev1.PodStatus{Conditions: o.Status.Conditions}}}
}

func slimEndpoint(o *v1.CiliumEndpoint) object[*v1.CiliumEndpoint] {
	meta := metav1.ObjectMeta{Name: o.Name, Namespace: o.Namespace, UID: o.UID, ResourceVersion: o.ResourceVersion}
	return object[*v1.CiliumEndpoint]{&v1.CiliumEndpoint{ObjectMeta: meta, Status: v1.EndpointStatus{Identity: o.Status.Identity}}}
}

func slimIdentity(o *v1.CiliumIdentity) object[*v1.CiliumIdentity] {
	slim(&o.ObjectMeta)
	return object[*v1.CiliumIdentity]{o}
}

// podRow is the row of a pod. One that agents would refuse has its name, and no
// labels that count.
func podRow(o *corev1.Pod) state.Pod {
	p, err := convert.Pod(o)
	if err != nil {
		return state.Pod{Name: nameOf(o), Node: o.Spec.NodeName, HostNetwork: true}
	}
	return p
}

func namespaceRow(o *corev1.Namespace) state.Namespace {
	n, err := convert.Namespace(o)
	if err != nil {
		return state.Namespace{Name: o.Name}
	}
	return n
}

func whole(o *v1.CiliumNode) object[*v1.CiliumNode] { return object[*v1.CiliumNode]{o} }

func serviceName(o *corev1.Service) state.ServiceName {
	return state.ServiceName{Namespace: o.Namespace, Name: o.Name}
}

// policySink makes rows of policies. A version that is refused leaves the one
// before in force, on agents, too.
func policySink[O kubeObject](t *table.Table[state.PolicyKey, policy], kind string, row func(O) (state.Policy, error), status func(O) []v1.PolicyCondition) sink[state.PolicyKey, policy, O] {
	key := func(o O) state.PolicyKey {
		return state.PolicyKey{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
	}
	return sink[state.PolicyKey, policy, O]{table: t, key: key, row: func(o O) policy {
		p := policy{key: key(o), status: status(o), version: o.GetResourceVersion(), uid: o.GetUID()}
		p.row, p.refused = row(o)
		p.known = p.refused == nil
		if old, ok := t.Get(p.key); ok && p.refused != nil && old.uid == p.uid {
			p.row, p.known = old.row, old.known
		}
		return p
	}, same: func(a, b policy) bool { return a.uid == b.uid && a.version == b.version }}
}
