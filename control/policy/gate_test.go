package policy

import (
	"strings"
	"testing"

	"weir/state"
)

// zoned selects peers by a label that identities do not tell yet.
func zoned(name string) state.Policy {
	p := allow(name, "web", "client")
	p.Specs[0].Ingress[0].Peers[0].Endpoints = state.Selector{{Key: "k8s:zone", Op: state.NotIn, Values: []string{"outer"}}}
	return p
}

func TestVersionWaitsUntilIdentitiesAndAddressesTellItsLabels(t *testing.T) {
	r := newRig(t, Options{})
	pod := state.PodName{Namespace: "default", Name: "p1"}
	r.identity(300, "web")
	r.identity(302, "client")
	r.identity(303, "outsider")
	r.endpoint(1, 300)
	r.tables.PodIdentities.Put(state.PodIdentity{Pod: pod, ID: 300})
	r.tables.Policies.Put(allow("p", "web", "client"))
	r.step(t)
	r.tables.Policies.Put(zoned("p"))
	r.tables.Policies.Put(zoned("q"))
	r.step(t)
	if got := r.in(t, 303, 1000); got != Denied {
		t.Errorf("before anybody tells the label, who has not got it is %s", got)
	}
	if got := r.in(t, 302, 1000); got != Allowed {
		t.Errorf("by the version before it is %s", got)
	}
	if p, q := r.status("p"), r.status("q"); p.State != StateInForce || !strings.Contains(p.Message, "k8s:zone") || q.State != StateWaiting {
		t.Errorf("got %+v and %+v", p, q)
	}
	r.tables.PodIdentities.Put(state.PodIdentity{Pod: pod, ID: 305}) // the endpoint still has 300
	r.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:zone"})
	r.step(t)
	if got := r.in(t, 303, 1000); got != Denied {
		t.Errorf("before the endpoint has its new identity it is %s", got)
	}
	r.identity(305, "web")
	r.endpoint(1, 305)
	addr := state.IP{Prefix: prefix("10.0.0.1/32"), Identity: 300, Source: state.IPEndpoint, Of: pod.String()}
	r.tables.IPs.Put(addr)
	r.step(t)
	if got := r.in(t, 303, 1000); got != Denied {
		t.Errorf("before its address has its new identity it is %s", got)
	}
	addr.Identity = 305
	r.tables.IPs.Put(addr)
	r.step(t)
	if got := r.in(t, 303, 1000); got != Allowed || r.status("q").State != StateInForce || r.status("p").Message != "" {
		t.Errorf("in the end it is %s; %+v", got, r.Policies())
	}
}

// An endpoint whose pod's name another pod has keeps its identity: nobody is to
// wait for it to have the other's.
func TestNothingWaitsForAnEndpointThatIsNotItsNames(t *testing.T) {
	r := newRig(t, Options{})
	r.tables.Nodes.Put(state.Node{Name: "n1", Local: true})
	pod := state.PodName{Namespace: "default", Name: "p1"}
	r.identity(300, "web")
	r.identity(303, "outsider")
	r.endpoint(1, 300)
	r.tables.Pods.Put(state.Pod{Name: pod, Node: "n2"})
	r.tables.PodIdentities.Put(state.PodIdentity{Pod: pod, ID: 303})
	r.tables.IPs.Put(state.IP{Prefix: prefix("10.0.0.1/32"), Identity: 300, Endpoint: 1, Source: state.IPEndpoint, Of: pod.String()})
	r.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:zone"})
	r.tables.Policies.Put(zoned("p"))
	r.step(t)
	if s := r.status("p").State; s != StateInForce {
		t.Errorf("the policy is %s", s)
	}
	r.tables.Pods.Put(state.Pod{Name: pod, Node: "n1"})
	r.tables.Policies.Put(zoned("q"))
	r.tables.VisibleLabels.Delete("k8s:zone")
	r.step(t)
	r.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:zone"})
	r.step(t)
	if s := r.status("q").State; s != StateWaiting {
		t.Errorf("the policy is %s, and the endpoint has not the identity of its pod", s)
	}
}

func TestAtAStartTheMapsStayUntilAllLabelsAreTold(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.tables.Policies.Put(zoned("p"))
	if got := r.wrote(t); got != "" || r.tables.EndpointPolicies.Synced() {
		t.Errorf("wrote %s", got)
	}
	r.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:zone"})
	r.step(t)
	if _, ok := r.tables.EndpointPolicies.Get(1); !ok {
		t.Error("the endpoint has no policy though all is told")
	}
}

func TestPolicyThatIsGoneDoesNotWait(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.endpoint(1, 300)
	r.tables.Policies.Put(allow("p", "web", "client"))
	r.step(t)
	r.tables.Policies.Put(zoned("p"))
	r.step(t)
	r.tables.Policies.Delete(zoned("p").Key)
	r.step(t)
	if got := r.in(t, 302, 1000); got != NotEnforced || len(r.Policies()) != 0 {
		t.Errorf("it is %s; %+v", got, r.Policies())
	}
}
