package observe

import (
	"context"
	"sync"

	"weir/api/flow"
	"weir/state"
)

// policies are those behind a verdict. Who they are is asked when somebody wants to know,
// and soon in any case: Add must not wait for an answer, since policy may be busy.
type policies struct {
	once sync.Once
	ask  func() Rule
	is   named
}

// named is who they are. It never changes.
type named struct {
	keys  []state.PolicyKey
	match uint8
	told  []*flow.Policy
}

func (p *policies) get() *named {
	p.once.Do(func() {
		r := p.ask()
		p.is, p.ask = toldPolicies(r.Policies, r.Match), nil
	})
	return &p.is
}

// ruleBook remembers what Rules said for as long as that is so.
type ruleBook struct {
	rules     Rules
	version   uint64
	byRule    map[uint32]*policies
	isolators map[isolation]*policies
	unasked   chan *policies // somebody asks for them now
}

type isolation struct {
	endpoint uint32
	ingress  bool
}

const (
	maxRemembered = 65536 // of one version
	maxUnasked    = 4096  // those above are asked for by readers alone
)

func newRuleBook(r Rules) ruleBook {
	return ruleBook{rules: r, unasked: make(chan *policies, maxUnasked)}
}

// run asks for what is not known yet, until ctx ends.
func (b *ruleBook) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-b.unasked:
			p.get()
		}
	}
}

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
		p = b.wanted(func() Rule { return b.rules.Rule(id) })
		b.byRule[id] = p
	}
	return p
}

func (b *ruleBook) isolated(endpoint uint32, ingress bool) *policies {
	b.refresh()
	k := isolation{endpoint, ingress}
	p, ok := b.isolators[k]
	if !ok {
		p = b.wanted(func() Rule { return Rule{Policies: b.rules.Isolated(endpoint, ingress)} })
		b.isolators[k] = p
	}
	return p
}

func (b *ruleBook) wanted(ask func() Rule) *policies {
	p := &policies{ask: ask}
	select {
	case b.unasked <- p:
	default:
	}
	return p
}

func toldPolicies(keys []state.PolicyKey, match uint8) named {
	out := named{keys: keys, match: match}
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
