package convert

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
	"weir/state"
)

// CiliumNetworkPolicy returns the row of a policy of a namespace.
func CiliumNetworkPolicy(o *v1.CiliumNetworkPolicy, s Scope) (state.Policy, error) {
	w, namespace, err := named(state.KindCNP, o.ObjectMeta, true)
	if err != nil {
		return state.Policy{}, err
	}
	c := policyContext{namespace: namespace, scope: s}
	key := state.PolicyKey{Kind: state.KindCNP, Namespace: namespace, Name: o.Name}
	return c.policy(w, key, o.ObjectMeta, o.Spec, o.Specs)
}

// CiliumClusterwideNetworkPolicy returns the row of a policy of all namespaces
// or of nodes.
func CiliumClusterwideNetworkPolicy(o *v1.CiliumClusterwideNetworkPolicy, s Scope) (state.Policy, error) {
	w, _, err := named(state.KindCCNP, o.ObjectMeta, false)
	if err != nil {
		return state.Policy{}, err
	}
	c := policyContext{scope: s}
	return c.policy(w, state.PolicyKey{Kind: state.KindCCNP, Name: o.Name}, o.ObjectMeta, o.Spec, o.Specs)
}

// policyContext is what a rule does not say of itself.
type policyContext struct {
	namespace string // empty: of a clusterwide policy
	scope     Scope
}

func (c policyContext) policy(w where, key state.PolicyKey, m metav1.ObjectMeta, spec *v1.Rule, specs []v1.Rule) (state.Policy, error) {
	none := state.Policy{}
	if spec == nil && len(specs) == 0 {
		return none, w.in("spec").refuse("is missing, and so is specs: write one with an endpointSelector and rules")
	}
	p := state.Policy{Key: key}
	var err error
	if p.Respond, err = respond(w, m); err != nil {
		return none, err
	}
	if spec != nil {
		out, err := c.spec(w.in("spec"), spec)
		if err != nil {
			return none, err
		}
		p.Specs = append(p.Specs, out)
	}
	for i := range specs {
		out, err := c.spec(w.item("specs", i), &specs[i])
		if err != nil {
			return none, err
		}
		p.Specs = append(p.Specs, out)
	}
	return p, nil
}

func (c policyContext) spec(w where, r *v1.Rule) (state.PolicySpec, error) {
	out := state.PolicySpec{Path: w.field, Description: r.Description}
	var err error
	if out.Subject, out.Nodes, err = c.subject(w, r); err != nil {
		return out, err
	}
	out.IsolateIngress = isolates(r.EnableDefaultDeny.Ingress, len(r.Ingress)+len(r.IngressDeny))
	out.IsolateEgress = isolates(r.EnableDefaultDeny.Egress, len(r.Egress)+len(r.EgressDeny))
	add := func(to *[]state.PolicyRule, list string, i int, r rule) error {
		rules, err := c.rules(w.item(list, i), r)
		*to = append(*to, rules...)
		return err
	}
	for i, r := range r.Ingress {
		if err := add(&out.Ingress, "ingress", i, ingressRule(r, false)); err != nil {
			return out, err
		}
	}
	for i, r := range r.IngressDeny {
		if err := add(&out.Ingress, "ingressDeny", i, ingressRule(r, true)); err != nil {
			return out, err
		}
	}
	for i, r := range r.Egress {
		if err := add(&out.Egress, "egress", i, egressRule(r, false)); err != nil {
			return out, err
		}
	}
	for i, r := range r.EgressDeny {
		if err := add(&out.Egress, "egressDeny", i, egressRule(r, true)); err != nil {
			return out, err
		}
	}
	return out, nil
}

// isolates tells what said does not: a direction with rules is isolated.
func isolates(said *bool, rules int) bool {
	if said != nil {
		return *said
	}
	return rules > 0
}

// subject returns the selector of those that the rules are for. A policy of a
// namespace never selects anything outside of it, whatever it says.
func (c policyContext) subject(w where, r *v1.Rule) (s state.Selector, nodes bool, err error) {
	switch {
	case r.EndpointSelector != nil && r.NodeSelector != nil:
		return nil, false, w.in("nodeSelector").refuse("stands beside endpointSelector: keep one, and write another policy for the other")
	case r.NodeSelector != nil && c.namespace != "":
		return nil, false, w.in("nodeSelector").refuse("selects nodes, which are in no namespace: write a %s", state.KindCCNP)
	case r.NodeSelector != nil:
		s, err = selector(w.in("nodeSelector"), *r.NodeSelector, objectKey)
		return s, true, err
	case r.EndpointSelector == nil:
		return nil, false, w.in("endpointSelector").refuse("is missing: write one; {} selects all pods")
	}
	s, err = selector(w.in("endpointSelector"), *r.EndpointSelector, identityKey)
	if err == nil && c.namespace != "" {
		s = within(s, c.namespace)
	}
	return s, false, err
}
