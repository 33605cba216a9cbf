package lifecycle

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"weir/api/agent"
	"weir/lab"
)

// A full node is rebooted: its pods start all at once, their objects come meanwhile. All
// get addresses of their own and their identity, and the cluster learns of each.
func TestTwoHundredAndFiftyPodsStartAtOnce(t *testing.T) {
	const storm = 250
	l := ownLab(t, lab.Spec{Name: "ltb-storm", Nodes: lab.Nodes(1)}, bare("a", "n1"))
	n := node(t, l, "n1")
	putNode(t, n, "n1", "10.0.0.0/23", "fd00::/119") // a /24 holds 252
	api := serveObjects(t, n)
	fromAPI(t, n, api.URL())
	agentDo(t, l, "n1", lab.AgentRestart)
	until(t, 20*time.Second, func() string {
		if s := get[agent.Status](t, l, "n1", agent.PathStatus); !s.Source.OK || len(s.KubernetesAPIs) != 13 || len(s.IPAM) == 0 || s.IPAM[0].CIDR != "10.0.0.0/23" {
			return fmt.Sprintf("source %+v, watches %v, %v", s.Source, s.KubernetesAPIs, s.IPAM)
		}
		return unready(t, l, "n1", "a")
	})
	all := count(storm, func(i int) attachment { return attach(t, l, "n1", fmt.Sprintf("s%d", i)) })
	began := time.Now()
	for i := range all { // as many objects as a kubelet and a scheduler would tell of, in one burst
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: all[i].id, UID: types.UID("u-" + all[i].id), Labels: map[string]string{"app": "storm"}}}
		p.Spec.NodeName = "n1"
		if err := api.Put(p); err != nil {
			t.Fatal(err)
		}
	}
	got, each := make([][]netip.Addr, storm), make([]time.Duration, storm)
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() {
			asked := time.Now()
			got[i], _ = a.add(t)
			each[i] = time.Since(asked)
		})
	}
	wg.Wait()
	if t.Failed() { // an ADD that failed has ended its goroutine, and said why
		t.FailNow()
	}
	took := time.Since(began)
	t.Logf("%d pods in %s: %.0f pods/s, one at most %s", storm, took.Round(time.Millisecond), storm/took.Seconds(), slices.Max(each).Round(time.Millisecond))
	seen := map[netip.Addr]string{}
	for i, addrs := range got {
		for _, a := range addrs {
			if seen[a] != "" {
				t.Errorf("%s and %s have %s", seen[a], all[i].id, a)
			}
			seen[a] = all[i].id
		}
	}
	if len(seen) != 2*storm {
		t.Errorf("%d addresses, want %d", len(seen), 2*storm)
	}
	until(t, 30*time.Second, func() string {
		for _, e := range get[[]agent.Endpoint](t, l, "n1", agent.PathEndpoints) {
			if e.State != "ready" {
				return fmt.Sprintf("%s is %s", e.Pod, e.State)
			}
		}
		if n := api.Count("ciliumendpoints"); n < storm {
			return fmt.Sprintf("the cluster knows of %d endpoints", n)
		}
		return ""
	})
	run(t, l, "n1", "ping", "-n", "-c1", "-W2", got[storm-1][0].String())
}
