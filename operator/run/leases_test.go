package run

import (
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
)

// l2 is three ready nodes, a service "web" that a policy selects, and strangers'
// leases, at an operator that gives leases.
func l2(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.cfg.L2.Enabled, c.cfg.Unused.Leases = true, time.Second
	c.put(service("kubernetes", ""), slice("kubernetes"), service("web", "172.18.200.1"), l2Policy("all"), readyNode(1, true), readyNode(2, true), readyNode(3, true))
	for _, of := range strangersLeases {
		c.put(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: of[0], Name: of[1]}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &of[2]}})
	}
	return c
}

// strangersLeases are not of L2 announcements, whatever they look like.
var strangersLeases = [][3]string{{"kube-system", "kube-scheduler", "cp_1"}, {"kube-system", "l2announce-default-old", "n1"},
	{"kube-node-lease", "n1", "n1"}, {"default", "cilium-l2announce-default-old", "n1"}}

func readyNode(i int, ready bool) *corev1.Node {
	n, status := node(i), corev1.ConditionTrue
	if !ready {
		status = corev1.ConditionUnknown
	}
	n.Labels = map[string]string{"zone": fmt.Sprint(i)}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	return n
}

func service(name, ingress string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ServiceTypeClusterIP, "10.96.0.7", []string{"10.96.0.7"}
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	if ingress != "" {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ingress}}
	}
	for _, f := range change {
		f(s)
	}
	return s
}

// slice is that of a service: its endpoints are on nodes, and ready or not.
func slice(of string, ends ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: of + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: of}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: ends}
}

func end(node string, ready bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{"10.0.0.5"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
}

// local makes a service one with externalTrafficPolicy Local.
func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func l2Policy(name string, change ...func(*v1.CiliumL2AnnouncementPolicy)) *v1.CiliumL2AnnouncementPolicy {
	p := &v1.CiliumL2AnnouncementPolicy{TypeMeta: metav1.TypeMeta{APIVersion: v1.APIVersionL2Policy, Kind: v1.KindL2Policy}, ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.LoadBalancerIPs = true
	for _, f := range change {
		f(p)
	}
	return p
}

// lease returns the lease of a service of the namespace default, and its holder.
func (c *cluster) lease(service string) (coordinationv1.Lease, string) {
	var l coordinationv1.Lease
	if !c.Get("kube-system", "cilium-l2announce-default-"+service, &l) {
		return l, "no lease"
	}
	return l, holderOf(l.Spec.HolderIdentity)
}

// held waits until a node other than those holds the lease of web, and returns it.
func (c *cluster) held(not ...string) string {
	c.t.Helper()
	var holder string
	until(c.t, func() string {
		if _, holder = c.lease("web"); len(holder) != 2 || strings.Contains(fmt.Sprint(not), holder) {
			return "web is held by " + holder
		}
		return ""
	})
	return holder
}

// leaves fails when somebody changes a stranger's lease within a while.
func (c *cluster) leaves(what string) {
	c.t.Helper()
	for _, of := range strangersLeases {
		var l coordinationv1.Lease
		if !c.Get(of[0], of[1], &l) || *l.Spec.HolderIdentity != of[2] || l.Spec.LeaseTransitions != nil {
			c.t.Errorf("%s: lease %v is %+v", what, of, l.Spec)
		}
	}
}

func TestRowB14TheOperatorGivesLeasesAndMovesThem(t *testing.T) {
	c := l2(t)
	c.start("a")
	first := c.held()
	if l, _ := c.lease("web"); l.Spec.AcquireTime == nil || l.Spec.LeaseTransitions != nil || c.Count("leases") != len(strangersLeases)+2 {
		t.Errorf("lease %+v, of %d", l.Spec, c.Count("leases"))
	}
	c.put(readyNode(int(first[1]-'0'), false))
	second := c.held(first)
	if l, _ := c.lease("web"); l.Spec.LeaseTransitions == nil || *l.Spec.LeaseTransitions != 1 {
		t.Errorf("moved: %+v", l.Spec)
	}
	c.put(readyNode(int(first[1]-'0'), true))
	always(t, time.Second, func() string {
		if _, holder := c.lease("web"); holder != second {
			return "one that returned took it back: " + holder
		}
		return ""
	})
	c.remove(readyNode(int(second[1]-'0'), true))
	c.held(second)
	c.remove(service("web", "172.18.200.1"))
	until(t, func() string {
		if _, holder := c.lease("web"); holder != "no lease" {
			return "the lease of a service that is gone is held by " + holder
		}
		return ""
	})
	c.leaves("at the end")
}

func TestLeasesFollowPoliciesLabelsAndEndpoints(t *testing.T) {
	c := l2(t)
	c.put(service("local", "172.18.200.2", local))
	c.start("a")
	holder := func(service, want string) {
		t.Helper()
		until(t, func() string {
			if _, got := c.lease(service); got != want {
				return fmt.Sprintf("%s is held by %q, want %q", service, got, want)
			}
			return ""
		})
	}
	c.held()
	holder("local", "")
	c.put(slice("local", end("n1", false), end("n2", true)))
	holder("local", "n2")
	c.put(slice("local", end("n1", true), end("n2", false)))
	holder("local", "n1")
	only := func(zone string) func(*v1.CiliumL2AnnouncementPolicy) {
		return func(p *v1.CiliumL2AnnouncementPolicy) {
			p.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"zone": zone}}
		}
	}
	c.put(l2Policy("all", only("3")))
	holder("web", "n3")
	holder("local", "")
	moved := readyNode(2, true)
	moved.Labels["zone"] = "9"
	c.put(l2Policy("all", only("9")), moved)
	holder("web", "n2")
	// A policy that is refused leaves its earlier version in force.
	c.put(l2Policy("all", func(p *v1.CiliumL2AnnouncementPolicy) { p.Spec.Interfaces = []string{"eth[0"} }))
	always(t, time.Second, func() string {
		if _, got := c.lease("web"); got != "n2" {
			return "web is held by " + got
		}
		return ""
	})
	c.remove(l2Policy("all"))
	holder("web", "no lease")
	holder("local", "no lease")
	c.leaves("at the end")
}

// What is not known yet removes and moves nothing, and neither do lists that lack
// objects which are there.
func TestNoLeaseGoesForWhatIsNotKnown(t *testing.T) {
	c := l2(t)
	c.put(service("web", "172.18.200.1", local), slice("web", end("n2", true)))
	n2 := "n2" // of before: one that is needed, and one that is not
	for _, name := range []string{"web", "old"} {
		c.put(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "cilium-l2announce-default-" + name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &n2}})
	}
	stay := func(what string, names ...string) {
		t.Helper()
		always(t, 1500*time.Millisecond, func() string {
			for _, name := range names {
				if l, holder := c.lease(name); holder != "n2" || l.Spec.LeaseTransitions != nil {
					return fmt.Sprintf("%s: %s is held by %s", what, name, holder)
				}
			}
			return ""
		})
	}
	kinds := []string{v1.ResourceL2Policies, "services", "endpointslices", "nodes"}
	for _, kind := range kinds {
		t.Run("without "+kind, func(t *testing.T) {
			c.Forbid(kind)
			defer c.Allow(kind)
			a := c.start("forbidden-" + kind)
			stay("forbidden", "web", "old")
			a.stop()
			<-a.ended
			a.ended <- nil
		})
	}
	a := c.start("a")
	until(t, func() string {
		if _, holder := c.lease("old"); holder != "no lease" {
			return "old is held by " + holder
		}
		return ""
	})
	for _, kind := range append(kinds, "leases") {
		c.Hide(kind, func(key string) bool { return key != "kube-system/weir-operator" })
		c.Expire()
		stay("empty list of "+kind, "web")
		c.Hide(kind, nil)
	}
	c.Expire()
	stay("with whole lists", "web")
	c.Unserve(v1.ResourceL2Policies)
	stay("without the definition", "web")
	until(t, func() string { // what failed meanwhile is tried again, later each time
		return a.report.status().Duties["leases"].Error
	})
	c.leaves("at the end")
}

func TestALeaseThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	c := l2(t)
	c.put(service("db", "172.18.200.2"))
	c.FailWrites("leases", func(key string) bool { return strings.HasSuffix(key, "-web") })
	a := c.start("a")
	until(t, func() string {
		_, db := c.lease("db")
		if text := a.report.status().Duties["leases"].Error; db == "no lease" || !strings.Contains(text, "write Lease kube-system/cilium-l2announce-default-web: Internal error") {
			return fmt.Sprintf("db is held by %s, error %q", db, text)
		}
		return ""
	})
	if _, holder := c.lease("web"); holder != "no lease" {
		t.Fatal("web has one")
	}
	c.FailWrites("leases", nil)
	first := c.held()
	if err := c.Cut(); err != nil {
		t.Fatal(err)
	}
	c.put(readyNode(int(first[1]-'0'), false))
	c.held(first)
	until(t, func() string { return a.report.status().Duties["leases"].Error })
}

func TestSwitchedOffNobodyTouchesLeases(t *testing.T) {
	c := l2(t)
	c.cfg.L2.Enabled = false
	n1 := "n1"
	c.put(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "cilium-l2announce-default-old"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &n1}})
	c.start("a")
	c.wantCIDRs("n3", "[10.0.2.0/24 fd00::200/120]")
	always(t, 2*time.Second, func() string {
		_, web := c.lease("web")
		if _, old := c.lease("old"); web != "no lease" || old != "n1" {
			return fmt.Sprintf("web is held by %s, old by %s", web, old)
		}
		return ""
	})
	for _, path := range []string{"/apis/cilium.io/v2alpha1/ciliuml2announcementpolicies", "/apis/discovery.k8s.io/v1/endpointslices", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"} {
		if n := c.Requests(path); n > 1 { // the elector creates its own
			t.Errorf("%d requests for %s", n, path)
		}
	}
}
