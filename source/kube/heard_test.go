package kube

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/api/client"
)

// calls are requests as client-go tells of them.
type calls struct {
	mu    sync.Mutex
	codes map[string]int
	paths map[string]int
}

func (c *calls) Call(_, _, code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.codes[code]++
}

func (c *calls) CallTook(_, path string, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths[path]++
}

// TestWhatServersTellIsCounted by kind, by what it was, and by whether it could be
// used; and so are requests, by how they ended, without the names of objects.
func TestWhatServersTellIsCounted(t *testing.T) {
	seen := &calls{codes: map[string]int{}, paths: map[string]int{}}
	client.TellCalls(seen)
	w := newWorld(t)
	w.put(everyKind()...)
	w.ready()
	count := func(h Heard) uint64 {
		i := slices.IndexFunc(w.source.Heard(), func(x Heard) bool { h.Count = x.Count; return x == h })
		if i < 0 {
			return 0
		}
		return w.source.Heard()[i].Count
	}
	w.eventually("one Service was told", func() bool { return count(Heard{Kind: "Service", Action: "create", Valid: true}) == 1 })
	w.put(pod("web-1"), pod("web-2"))
	w.eventually("pods were told", func() bool { return count(Heard{Kind: "Pod", Action: "create", Valid: true}) == 3 })
	w.delete(pod("web-1"))
	w.eventually("and that one is gone", func() bool { return count(Heard{Kind: "Pod", Action: "delete", Valid: true}) == 1 })
	bad := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bad"}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{"Sideways"}}}
	w.put(bad)
	w.eventually("a policy that is none", func() bool { return count(Heard{Kind: "NetworkPolicy", Action: "create"}) == 1 })
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if seen.codes["200"] == 0 {
		t.Errorf("requests by how they ended: %v", seen.codes)
	}
	for path := range seen.paths {
		if strings.Contains(path, "web-") || strings.Contains(path, "/n1") {
			t.Errorf("the path %s names an object", path)
		}
	}
}
