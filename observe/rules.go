package observe

import (
	"weir/api/flow"
	"weir/state"
)

// policies are those behind a verdict. They never change.
type policies struct {
	keys  []state.PolicyKey
	match uint8
	told  []*flow.Policy
}

// ruleBook remembers what Rules said for as long as that is so.
type ruleBook struct {
	rules     Rules
	version   uint64
	byRule    map[uint32]*policies
	isolators map[isolation]*policies
}

type isolation struct {
	endpoint uint32
	ingress  bool
}

// maxRemembered bounds what is remembered of one version.
const maxRemembered = 65536

func (b *ruleBook) refresh() {
	v := b.rules.Version()
	if b.byRule == nil || v != b.version || len(b.byRule)+len(b.isolators) > maxRemembered {
		b.version, b.byRule, b.isolators = v, map[uint32]*policies{}, map[isolation]*policies{}
	}
}

// of is a rule's policies.
func (b *ruleBook) of(id uint32) *policies {
	b.refresh()
	p, ok := b.byRule[id]
	if !ok {
		r := b.rules.Rule(id)
		p = toldPolicies(r.Policies, r.Match)
		b.byRule[id] = p
	}
	return p
}

func (b *ruleBook) isolated(endpoint uint32, ingress bool) *policies {
	b.refresh()
	k := isolation{endpoint, ingress}
	p, ok := b.isolators[k]
	if !ok {
		p = toldPolicies(b.rules.Isolated(endpoint, ingress), 0)
		b.isolators[k] = p
	}
	return p
}

func toldPolicies(keys []state.PolicyKey, match uint8) *policies {
	out := &policies{keys: keys, match: match}
	for _, k := range keys {
		labels := []string{labelDerivedFrom + k.Kind, labelPolicyName + k.Name}
		if k.Namespace != "" {
			labels = append(labels, labelPolicyNamespace+k.Namespace)
		}
		out.told = append(out.told, &flow.Policy{Name: k.Name, Namespace: k.Namespace, Kind: k.Kind, Labels: labels})
	}
	return out
}

// Labels that say which object a policy comes from.
const (
	labelDerivedFrom     = "k8s:io.cilium.k8s.policy.derived-from="
	labelPolicyName      = "k8s:io.cilium.k8s.policy.name="
	labelPolicyNamespace = "k8s:io.cilium.k8s.policy.namespace="
)
