package run

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"weir/api/client"
	v1 "weir/api/v1"
	"weir/internal/reconcile"
	"weir/internal/run"
	"weir/source/convert"
	"weir/state"
)

// patience is how long one write may take.
const patience = 15 * time.Second

// notFinished leaves out pods that have ended: they have no addresses, and nobody acts for
// them. Agents leave them out, too.
const notFinished = "status.phase!=Succeeded,status.phase!=Failed"

// duty is one loop over tables.
type duty struct {
	name   string
	step   func(context.Context) error
	inputs []reconcile.Input
}

// work follows the cluster and does all duties until ctx ends.
func (o *Operator) work(ctx context.Context) error {
	t := newTables()
	g := run.New(ctx)
	past := newHistory(o)
	g.Go("history", past.Run)
	for _, w := range o.watches(t) {
		w.tell = func(took time.Duration, err error) { o.did("watch "+w.name, took, err) }
		g.Go("watch "+w.name, func(ctx context.Context) error { return w.run(ctx, past) })
	}
	for _, d := range o.duties(g.Context(), t) {
		log := o.log.With("duty", d.name)
		g.Go(d.name, func(ctx context.Context) error {
			ctx = reconcile.WithObserver(ctx, func(took time.Duration, err error) { o.did(d.name, took, err) })
			return reconcile.Loop(ctx, log, d.step, d.inputs...)
		})
	}
	return g.Wait()
}

func (o *Operator) duties(ctx context.Context, t *tables) []duty {
	sweep := reconcile.Every(ctx, o.sweep)
	nodes, ids := newNodes(o, t), newIdentities(o, t)
	ends, pols := newEndpoints(o, t), newPolicies(o, t)
	marks, strangers := newMarks(o, t), newStrangers(o, t)
	out := []duty{
		{"nodes", nodes.step, []reconcile.Input{reconcile.AtMost(time.Second, t.nodes, t.ours, t.pods), sweep}}, // heartbeats and pods never rest
		{"gone nodes", nodes.sweep, []reconcile.Input{reconcile.Once(t.nodes), reconcile.Once(t.ours), reconcile.Once(t.pods), sweep}},
		{"identities", ids.step, []reconcile.Input{t.pods, t.namespaces, t.services, t.cnps, t.ccnps, t.netpols, t.identities}},
		{"unused identities", ids.sweep, []reconcile.Input{reconcile.Once(t.identities), reconcile.Once(t.endpoints), reconcile.Once(t.pods), sweep}},
		{"policies", pols.step, []reconcile.Input{t.cnps, t.ccnps, whenever{t.groups}}},
		{"gone endpoints", ends.sweep, []reconcile.Input{reconcile.Once(t.pods), reconcile.Once(t.endpoints), sweep}},
		{"marks", marks.step, []reconcile.Input{t.nodes, t.agents}},
		{"unmanaged pods", strangers.step, []reconcile.Input{reconcile.Once(t.pods), reconcile.Once(t.endpoints), reconcile.Once(t.agents), sweep}},
	}
	if !o.cfg.L2.Enabled {
		return out
	}
	leases := newLeases(o, t)
	inputs := t.l2.inputs(t.services)
	return append(out, duty{"leases", leases.step, inputs}, duty{"unused leases", leases.sweep, append(onceEach(inputs), sweep)})
}

// onceEach are inputs that have to be synced, and wake nobody after that.
func onceEach(inputs []reconcile.Input) []reconcile.Input {
	var out []reconcile.Input
	for _, in := range inputs {
		out = append(out, reconcile.Once(in))
	}
	return out
}

// watches are those of all tables.
func (o *Operator) watches(t *tables) []watch {
	core, net, ours := o.kube.CoreV1().RESTClient(), o.kube.NetworkingV1().RESTClient(), o.ours.RawREST()
	scope := convert.Scope{Cluster: o.cfg.Cluster.Name, CIDRMatchMode: o.cfg.Policy.CIDRMatchMode}
	agents := follow(core, "pods", &corev1.Pod{}, into(t.agents, nameOf, slimAgent, sameVersion))
	agents.name, agents.from, agents.tune = "pods", o.cfg.Agent.Namespace, func(l *metav1.ListOptions) { l.LabelSelector = o.cfg.Agent.Selector }
	pods := follow(core, "pods", &corev1.Pod{}, into(t.pods, nameOf, podRow, state.Pod.Same))
	pods.tune = func(l *metav1.ListOptions) { l.FieldSelector = notFinished }
	var nodes cache.ReflectorStore = into(t.nodes, plainName, slimNode, sameVersion)
	var more []watch
	if o.cfg.L2.Enabled {
		nodes, more = both{nodes, t.l2.nodeSink(scope)}, o.l2Watches(t, scope)
	}
	return append([]watch{
		agents, o.groupWatch(t, scope),
		follow(core, "nodes", &corev1.Node{}, nodes),
		follow(core, "namespaces", &corev1.Namespace{}, into(t.namespaces, plainName, namespaceRow, state.Namespace.Same)),
		follow(core, "services", &corev1.Service{}, judged(t.services, serviceName, convert.Service,
			func(o *corev1.Service) state.Service { return state.Service{Name: serviceName(o)} }, state.Service.Same)),
		pods,
		follow(ours, v1.ResourceNodes, &client.Raw{}, into(t.ours, plainName, fitting(o.log, whole), sameVersion)),
		follow(ours, v1.ResourceIdentities, &client.Raw{}, into(t.identities, plainName, fitting(o.log, slimIdentity), sameVersion)),
		follow(ours, v1.ResourceEndpoints, &client.Raw{}, into(t.endpoints, nameOf, fitting(o.log, slimEndpoint), sameVersion)),
		follow(net, "networkpolicies", &networkingv1.NetworkPolicy{}, policySink(t.netpols, state.KindNetworkPolicy, convert.NetworkPolicy,
			func(*networkingv1.NetworkPolicy) []v1.PolicyCondition { return nil })),
		follow(ours, v1.ResourceNetworkPolicies, &client.Raw{}, policySink(t.cnps, state.KindCNP,
			asAgents[state.Policy](v1.APIVersion, state.KindCNP, scope), conditions(o.log))),
		follow(ours, v1.ResourceClusterwideNetworkPolicies, &client.Raw{}, policySink(t.ccnps, state.KindCCNP,
			asAgents[state.Policy](v1.APIVersion, state.KindCCNP, scope), conditions(o.log))),
	}, more...)
}

func follow(r rest.Interface, resource string, of kubeObject, store cache.ReflectorStore) watch {
	return watch{name: resource, rest: r, of: of, store: store}
}
