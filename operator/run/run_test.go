package run

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	v1 "weir/api/v1"
	"weir/operator/config"
	"weir/source/kube/connect"
	"weir/test/fakeapi"
)

// cluster is a fake API server, and replicas that work at it.
type cluster struct {
	*fakeapi.Server
	t     *testing.T
	cfg   config.Config
	token string // a file; empty: nobody asks for one
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	s := fakeapi.New()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	cfg := config.Defaults()
	cfg.Cluster.Name, cfg.IPv6.Enabled, cfg.HealthAddr = "lab", true, ""
	cfg.Agent.Namespace, cfg.Lease.Namespace = "kube-system", "kube-system"
	cfg.Lease.Duration, cfg.Lease.Renew, cfg.Lease.Retry = 2*time.Second, 1500*time.Millisecond, 100*time.Millisecond
	cfg.Unused.Endpoints, cfg.Unused.Nodes, cfg.Unused.Identities = time.Second, time.Second, time.Second
	return &cluster{Server: s, t: t, cfg: cfg}
}

// replica is a running operator.
type replica struct {
	*Operator
	stop  context.CancelFunc
	ended chan error
}

// start runs a replica until the test ends, or stop is called.
func (c *cluster) start(name string) *replica {
	c.t.Helper()
	return c.startWith(name, &rest.Config{Host: c.URL(), BearerTokenFile: c.token}, nil)
}

// startWith is start by a connection.
func (c *cluster) startWith(name string, rc *rest.Config, conn *connect.Conn) *replica {
	c.t.Helper()
	log := slog.New(slog.NewTextHandler(logger{c.t}, nil))
	o, err := build(log.With("replica", name), c.cfg, rc, name)
	if err != nil {
		c.t.Fatal(err)
	}
	o.conn = conn
	o.sweep = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{o, cancel, make(chan error, 1)}
	go func() { r.ended <- o.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.ended:
			r.ended <- err
		case <-time.After(20 * time.Second):
			c.t.Errorf("%s does not end", name)
		}
	})
	return r
}

type logger struct{ t *testing.T }

func (l logger) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// until waits for a condition that says what it misses.
func until(t *testing.T, missing func() string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = missing(); last == "" {
			return
		}
	}
	t.Fatalf("after 20 s: %s", last)
}

// always fails when a condition does not hold for a while.
func always(t *testing.T, d time.Duration, wrong func() string) {
	t.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if text := wrong(); text != "" {
			t.Fatal(text)
		}
	}
}

func (c *cluster) put(objects ...fakeapi.Object) {
	c.t.Helper()
	if err := c.Put(objects...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) remove(objects ...fakeapi.Object) {
	c.t.Helper()
	if err := c.Delete(objects...); err != nil {
		c.t.Fatal(err)
	}
}

func node(i int) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.18.0.%d", i)}, {Type: corev1.NodeInternalIP, Address: fmt.Sprintf("fc00::%d", i)}}
	return n
}

func pod(name, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": name}}}
	p.Spec.NodeName = node
	for _, f := range change {
		f(p)
	}
	return p
}

func agent(node string, ready corev1.ConditionStatus) *corev1.Pod {
	p := pod("weir-"+node, node, func(p *corev1.Pod) {
		p.Namespace, p.Labels, p.Spec.HostNetwork = "kube-system", map[string]string{"k8s-app": "weir"}, true
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	})
	return p
}

// seesApp is a policy that sees the label app.
func seesApp() *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "sees-app", Namespace: "default"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}}},
	}}
}

// cidrs returns what a node's object has, or "none".
func (c *cluster) cidrs(node string) string {
	var o v1.CiliumNode
	if !c.Get("", node, &o) {
		return "none"
	}
	return fmt.Sprint(o.Spec.IPAM.PodCIDRs)
}

func (c *cluster) wantCIDRs(node, want string) {
	c.t.Helper()
	until(c.t, func() string {
		if got := c.cidrs(node); got != want {
			return fmt.Sprintf("%s has %s, want %s", node, got, want)
		}
		return ""
	})
}

func TestRowG5TheOperatorGivesEachNodeItsPodCIDRs(t *testing.T) {
	c := newCluster(t)
	c.put(node(1))
	c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	c.put(node(2))
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
	var o v1.CiliumNode
	c.Get("", "n2", &o)
	want := []v1.NodeAddress{{Type: "InternalIP", IP: "172.18.0.2"}, {Type: "InternalIP", IP: "fc00::2"}, {Type: "CiliumInternalIP", IP: "10.0.1.1"}, {Type: "CiliumInternalIP", IP: "fd00::101"}}
	if !reflect.DeepEqual(o.Spec.Addresses, want) || o.Spec.Health != (v1.AddressPair{IPv4: "10.0.1.2", IPv6: "fd00::102"}) {
		t.Errorf("got %+v", o.Spec)
	}
	// An address changes, the CIDRs do not.
	n := node(2)
	n.Status.Addresses[0].Address = "172.18.0.99"
	c.put(n)
	until(t, func() string {
		var o v1.CiliumNode
		if c.Get("", "n2", &o); o.Spec.Addresses[0].IP != "172.18.0.99" {
			return fmt.Sprint(o.Spec.Addresses)
		}
		return ""
	})
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
}

func TestKubernetesModeTakesWhatNodesHave(t *testing.T) {
	c := newCluster(t)
	c.cfg.IPAM.Mode = "kubernetes"
	n := node(1)
	n.Spec.PodCIDRs = []string{"10.244.1.0/24", "fd44::/120"}
	c.put(n, node(2))
	c.start("a")
	c.wantCIDRs("n1", "[10.244.1.0/24 fd44::/120]")
	until(t, func() string {
		var o v1.CiliumNode
		if c.Get("", "n2", &o); !strings.Contains(o.Status.IPAM.Operator.Error, "Node n2 has no spec.podCIDRs") {
			return fmt.Sprintf("status %+v", o.Status)
		}
		return ""
	})
}

func TestAFullNodeGetsAnotherCIDR(t *testing.T) {
	c := newCluster(t)
	c.cfg.IPv6.Enabled = false
	c.cfg.IPAM.Operator.IPv4Mask, c.cfg.IPAM.Operator.Spare = 28, 4
	c.put(node(1), node(2))
	c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/28]")
	for i := range 9 { // of 14 addresses two are the node's own
		c.put(pod(fmt.Sprint("p", i), "n1"))
	}
	c.wantCIDRs("n1", "[10.0.0.0/28 10.0.0.32/28]")
	c.wantCIDRs("n2", "[10.0.0.16/28]")
}

func TestAnExhaustedPoolIsNamedAtTheNode(t *testing.T) {
	c := newCluster(t)
	c.cfg.IPv6.Enabled = false
	c.cfg.IPAM.Operator.IPv4Mask = 8
	c.put(node(1))
	c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/8]")
	c.put(node(2))
	until(t, func() string {
		var o v1.CiliumNode
		if c.Get("", "n2", &o); !strings.Contains(o.Status.IPAM.Operator.Error, "no pod CIDR left for node n2: pool 10.0.0.0/8 with mask /8 is exhausted") {
			return fmt.Sprintf("status %+v", o.Status)
		}
		return ""
	})
}

func TestTheObjectOfANodeThatIsGoneGoes(t *testing.T) {
	c := newCluster(t)
	c.put(node(1), node(2), pod("p", "n2"))
	c.start("a")
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
	c.remove(node(2))
	always(t, 2*time.Second, func() string { // a pod is there still
		if c.cidrs("n2") == "none" {
			return "the CiliumNode went before its pods"
		}
		return ""
	})
	c.remove(pod("p", "n2"))
	c.wantCIDRs("n2", "none")
	c.put(node(3))
	c.wantCIDRs("n3", "[10.0.1.0/24 fd00::100/120]")
}

// Lists that lack nodes, and an old backup that does, remove nothing and give
// nobody's addresses away.
func TestNoListRemovesWhatIsThere(t *testing.T) {
	c := newCluster(t)
	c.put(node(1), node(2), pod("web", "n1"), seesApp(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	c.start("a")
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
	before := c.Snapshot()
	c.put(node(3), node(4))
	c.wantCIDRs("n4", "[10.0.3.0/24 fd00::300/120]")
	until(t, func() string { return c.lacks("ciliumidentities", 1) })

	for _, hidden := range []string{"nodes", "pods", "ciliumnodes"} {
		c.Hide(hidden, func(string) bool { return true })
	}
	c.Expire()
	always(t, 3*time.Second, func() string {
		if text := c.lacks("ciliumnodes", 4); text != "" {
			return "with empty lists: " + text
		}
		return c.lacks("ciliumidentities", 1)
	})
	for _, hidden := range []string{"nodes", "pods", "ciliumnodes"} {
		c.Hide(hidden, nil)
	}
	c.Expire()

	c.Restore(before)
	always(t, 3*time.Second, func() string { return c.lacks("ciliumnodes", 2) })
	c.put(node(5), node(3))
	c.wantCIDRs("n3", "[10.0.2.0/24 fd00::200/120]") // what its pods have
	c.wantCIDRs("n5", "[10.0.4.0/24 fd00::400/120]") // nobody's, also of those whom the backup forgot
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
}

func (c *cluster) lacks(resource string, least int) string {
	if n := c.Count(resource); n < least {
		return fmt.Sprintf("%d %s, want %d", n, resource, least)
	}
	return ""
}

func TestTwoReplicasGiveNothingTwice(t *testing.T) {
	c := newCluster(t)
	a := c.start("a")
	until(t, func() string {
		if a.report.status().Leader != "a" {
			return "a does not lead"
		}
		return ""
	})
	b := c.start("b")
	for i := 1; i <= 10; i++ {
		c.put(node(i))
	}
	until(t, func() string { return c.lacks("ciliumnodes", 5) }) // in the midst of it
	a.stop()                                                     // as SIGTERM does
	gaveUp := time.Now()
	for i := 11; i <= 20; i++ {
		c.put(node(i))
	}
	until(t, func() string {
		if b.report.status().Leader != "b" {
			return "b does not lead"
		}
		return c.lacks("ciliumnodes", 20)
	})
	t.Logf("b led, and all had CIDRs, after %v; the lease is one of %v", time.Since(gaveUp), c.cfg.Lease.Duration)
	seen := map[string]string{}
	for i := 1; i <= 20; i++ {
		name := fmt.Sprint("n", i)
		got := c.cidrs(name)
		if seen[got] != "" || got == "[]" {
			t.Errorf("%s and %s have %s", name, seen[got], got)
		}
		seen[got] = name
	}
	if err := <-a.ended; err != nil {
		t.Errorf("a ended with %v", err)
	} else {
		a.ended <- nil
	}
}

// One whose lease another has taken stops at once.
func TestALeaderWithoutItsLeaseEnds(t *testing.T) {
	c := newCluster(t)
	c.put(node(1))
	a := c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	c.Hang()
	select {
	case err := <-a.ended:
		a.ended <- err
		if err == nil || !strings.Contains(err.Error(), "could not be renewed in time") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("works on without a lease")
	}
	c.Resume()
	c.put(node(2))
	c.start("b")
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
}

// A leader whose token is renewed, and the old one refused, leads on.
func TestALeaderTakesTheTokenThatIsRenewed(t *testing.T) {
	c := newCluster(t)
	c.token = filepath.Join(t.TempDir(), "token")
	renew := func(token string) {
		t.Helper()
		err := os.WriteFile(c.token+".new", []byte(token), 0o600)
		if err == nil {
			err = os.Rename(c.token+".new", c.token)
		}
		if err != nil {
			t.Fatal(err)
		}
		c.RequireToken(token)
	}
	renew("one")
	c.put(node(1))
	a := c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	renew("two")
	if err := c.Cut(); err != nil {
		t.Fatal(err)
	}
	c.put(node(2))
	c.wantCIDRs("n2", "[10.0.1.0/24 fd00::100/120]")
	always(t, 2*time.Second, func() string { // longer than its lease
		if leader := a.report.status().Leader; leader != "a" || len(a.ended) > 0 {
			return "it leads no longer, but " + leader
		}
		return ""
	})
}

func TestIdentitiesComeWithPodsAndGoLater(t *testing.T) {
	c := newCluster(t)
	c.put(node(1), seesApp(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, pod("web", "n1"), pod("db", "n1"),
		pod("host", "n1", func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
	c.start("a")
	until(t, func() string { return c.lacks("ciliumidentities", 2) })
	var o v1.CiliumIdentity
	if !c.Get("", "257", &o) || o.SecurityLabels["k8s:app"] != "web" || o.SecurityLabels["k8s:io.cilium.k8s.policy.cluster"] != "lab" || o.Labels["io.kubernetes.pod.namespace"] != "default" {
		t.Errorf("got %+v", o)
	}
	// An endpoint object that has the number keeps it, when the pod is gone, too.
	c.put(endpointOf("db", 256))
	c.remove(pod("web", "n1"), pod("db", "n1"))
	until(t, func() string {
		if c.Get("", "257", &o) {
			return "257 is there"
		}
		return ""
	})
	until(t, func() string { // db's endpoint goes first, then its number
		if n := c.Count("ciliumendpoints") + c.Count("ciliumidentities"); n != 0 {
			return fmt.Sprintf("%d objects are there", n)
		}
		return ""
	})
	c.put(pod("cache", "n1"))
	until(t, func() string {
		if !c.Get("", "258", &o) {
			return "no 258: a number that was just in use was given again"
		}
		return ""
	})
}

func endpointOf(pod string, id int64) *v1.CiliumEndpoint {
	e := &v1.CiliumEndpoint{TypeMeta: metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumEndpoint}, ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: "default"}}
	e.Status.Identity = &v1.EndpointIdentity{ID: id}
	return e
}

func TestAPolicySaysWhetherItIsValid(t *testing.T) {
	c := newCluster(t)
	c.put(node(1))
	for name, spec := range map[string]string{
		"good": `{"endpointSelector":{},"ingress":[{}]}`,
		"part": `{"endpointSelector":{},"egress":[{"toFQDNs":[{"matchName":"a.example"}]}]}`,
		"bad":  `{"endpointSelector":{},"ingress":[{"fromCIDR":["10.0.0.1/8"]}]}`,
	} {
		text := fmt.Sprintf(`{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":%q,"namespace":"default"},"spec":%s}`, name, spec)
		if err := c.PutJSON(v1.APIVersion, v1.KindCiliumNetworkPolicy, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.PutJSON(v1.APIVersion, v1.KindCiliumClusterwideNetworkPolicy,
		[]byte(`{"apiVersion":"cilium.io/v2","kind":"CiliumClusterwideNetworkPolicy","metadata":{"name":"wide"},"spec":{"nodeSelector":{},"ingress":[{"fromEntities":["wrld"]}]}}`)); err != nil {
		t.Fatal(err)
	}
	c.start("a")
	for name, want := range map[string]string{
		"good": "True Accepted the whole policy is in force",
		"part": "True PartlyEnforced spec.egress[0]: toFQDNs is not enforced yet: these names are denied",
		"bad":  `False Refused CiliumNetworkPolicy default/bad: spec.ingress[0].fromCIDR[0]: "10.0.0.1/8" has host bits set: write 10.0.0.0/8`,
		"wide": `False Refused CiliumClusterwideNetworkPolicy wide: spec.ingress[0].fromEntities[0]: "wrld" is no entity`,
	} {
		until(t, func() string {
			var o v1.CiliumNetworkPolicy
			var wide v1.CiliumClusterwideNetworkPolicy
			if name == "wide" {
				c.Get("", name, &wide)
				o.Status = wide.Status
			} else {
				c.Get("default", name, &o)
			}
			for _, s := range o.Status.Conditions {
				if got := s.Status + " " + s.Reason + " " + s.Message; s.Type == "Valid" && strings.HasPrefix(got, want) && !s.LastTransitionTime.IsZero() {
					return ""
				}
			}
			return fmt.Sprintf("%s: %+v", name, o.Status)
		})
	}
}

func TestRowG13TheTaintGoesWhenTheAgentIsReady(t *testing.T) {
	c := newCluster(t)
	c.cfg.Nodes.SetTaint = true
	one, two := node(1), node(2)
	one.Spec.Taints = []corev1.Taint{{Key: "node.cilium.io/agent-not-ready", Effect: corev1.TaintEffectNoExecute}, {Key: "other", Effect: corev1.TaintEffectNoSchedule}}
	one.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
	c.put(one, two, agent("n1", corev1.ConditionFalse), agent("n2", corev1.ConditionFalse))
	c.start("a")
	taints := func(name string) string {
		var n corev1.Node
		c.Get("", name, &n)
		text := ""
		for _, t := range n.Spec.Taints {
			text += t.Key + " "
		}
		for _, s := range n.Status.Conditions {
			text += fmt.Sprintf("%s=%s ", s.Type, s.Status)
		}
		return text
	}
	want := func(name, want string) {
		t.Helper()
		until(t, func() string {
			if got := taints(name); got != want {
				return fmt.Sprintf("%s: %q, want %q", name, got, want)
			}
			return ""
		})
	}
	want("n2", "node.cilium.io/agent-not-ready ")
	want("n1", "node.cilium.io/agent-not-ready other Ready=True NetworkUnavailable=True ")
	c.put(agent("n1", corev1.ConditionTrue), agent("n2", corev1.ConditionTrue))
	want("n1", "other Ready=True NetworkUnavailable=False ")
	want("n2", "NetworkUnavailable=False ")
}

func TestRowN3UnmanagedPodsAreReported(t *testing.T) {
	c := newCluster(t)
	with := func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "10.9.0.7"}} }
	c.put(node(1), agent("n1", corev1.ConditionTrue), pod("old", "n1", with), pod("ours", "n1", with), pod("elsewhere", "n2", with), endpointOf("ours", 256))
	o := c.start("a")
	server := httptest.NewServer(o.handler())
	defer server.Close()
	get := func(path string) string {
		r, err := http.Get(server.URL + path)
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		return string(text)
	}
	until(t, func() string {
		if got := get("/metrics"); !strings.Contains(got, "cilium_operator_unmanaged_pods 1\n") {
			return got
		}
		return ""
	})
	if got := get("/status"); !strings.Contains(got, `"unmanagedPods":["default/old"]`) {
		t.Error(got)
	}
	if n := c.Count("events"); n != 1 {
		t.Errorf("%d events, want one", n)
	}
	if get("/healthz") != "ok\n" || get("/readyz") != "ok\n" {
		t.Errorf("not healthy: %s%s", get("/healthz"), get("/readyz"))
	}
}

func TestAReplicaThatFindsNoServerIsNotReady(t *testing.T) {
	c := newCluster(t)
	if r, err := http.Get(c.URL()); err == nil { // it serves by now, so that it can end
		r.Body.Close()
	}
	c.Down()
	o := c.start("a")
	w := httptest.NewRecorder()
	o.handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "the API server has not answered") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := c.Up(); err != nil {
		t.Fatal(err)
	}
	c.put(node(1))
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
}

// Without permission for a kind, what depends on it waits, and everything else works.
func TestAForbiddenKindStopsOnlyWhatNeedsIt(t *testing.T) {
	c := newCluster(t)
	c.Forbid("services")
	c.put(node(1), seesApp(), pod("web", "n1"))
	c.start("a")
	c.wantCIDRs("n1", "[10.0.0.0/24 fd00::/120]")
	always(t, time.Second, func() string {
		if n := c.Count("ciliumidentities"); n > 0 {
			return "an identity without knowing services"
		}
		return ""
	})
	c.Allow("services")
	until(t, func() string { return c.lacks("ciliumidentities", 1) })
}

func TestConflictsAndDisorderEndWell(t *testing.T) {
	c := newCluster(t)
	c.Shuffle(true)
	c.Duplicate(true)
	c.start("a")
	for i := 1; i <= 30; i++ {
		c.put(node(i))
	}
	until(t, func() string { return c.lacks("ciliumnodes", 15) })
	if err := c.Cut(); err != nil { // between two writes
		t.Fatal(err)
	}
	c.Expire()
	until(t, func() string { return c.lacks("ciliumnodes", 30) })
	seen := map[string]string{}
	for i := 1; i <= 30; i++ {
		name := fmt.Sprint("n", i)
		got := c.cidrs(name)
		if seen[got] != "" {
			t.Errorf("%s and %s have %s", name, seen[got], got)
		}
		seen[got] = name
	}
	// Another hand changes the object: the CIDRs come back, the rest of it stays.
	var o v1.CiliumNode
	c.Get("", "n7", &o)
	had := c.cidrs("n7")
	o.TypeMeta = metav1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindCiliumNode}
	o.Spec.IPAM.PodCIDRs, o.Spec.BootID = nil, "boot"
	c.put(&o)
	c.wantCIDRs("n7", had)
	if c.Get("", "n7", &o); o.Spec.BootID != "boot" {
		t.Errorf("another's field went: %+v", o.Spec)
	}
}
