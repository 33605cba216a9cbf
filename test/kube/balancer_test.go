package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"weir/lab/kube"
)

// balancer plays a cloud's load balancers: it gives services of type
// LoadBalancer an address, and sends what the world has for it to the nodes by
// routes, packets as they are. With externalTrafficPolicy Local it asks nodes
// for their health first, as a cloud does.
type balancer struct {
	lab    *kube.Lab
	client kubernetes.Interface
	given  map[types.UID]int // by service, the number its addresses end with
	routes map[string]string // by address, how the world reaches it
}

// balance plays load balancers until the test ends.
func balance(t *testing.T, l *kube.Lab) {
	t.Helper()
	client, err := clientOf(l)
	if err != nil {
		t.Fatal(err)
	}
	// By connection, not by client: the world is one client.
	for _, family := range []string{"ipv4", "ipv6"} {
		if r := l.Exec(t.Context(), kube.World, "sysctl", "-qw", "net."+family+".fib_multipath_hash_policy=1"); !r.OK() {
			t.Fatalf("load balancers: %s", r.Stderr)
		}
	}
	b := &balancer{lab: l, client: client, given: map[types.UID]int{}, routes: map[string]string{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := b.step(ctx); err != nil && ctx.Err() == nil {
				t.Log("load balancers:", err) // it is tried again
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
}

// step brings services and the world's routes to what they should be.
func (b *balancer) step(ctx context.Context) error {
	services, err := b.client.CoreV1().Services("").List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	nodes, err := b.client.CoreV1().Nodes().List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	targets := readyAddresses(nodes.Items)
	routes := map[string]string{}
	given := map[types.UID]int{}
	for i := range services.Items {
		s := &services.Items[i]
		if !balanced(s) {
			continue
		}
		if given[s.UID] = b.given[s.UID]; given[s.UID] == 0 {
			given[s.UID] = b.free(given)
			b.given[s.UID] = given[s.UID]
		}
		for _, family := range s.Spec.IPFamilies {
			routes[addressOf(family, given[s.UID])] = route(family, b.healthy(ctx, s, targets[family]), s.Spec.SessionAffinity == core.ServiceAffinityClientIP)
		}
	}
	b.given = given
	if err := b.setRoutes(ctx, routes); err != nil {
		return err
	}
	for i := range services.Items {
		if err := b.write(ctx, &services.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// balanced says whether a cloud would have a load balancer for the service.
func balanced(s *core.Service) bool {
	return s.Spec.Type == core.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil && s.Spec.LoadBalancerClass == nil
}

func (b *balancer) free(given map[types.UID]int) int {
	taken := slices.AppendSeq(slices.Collect(maps.Values(b.given)), maps.Values(given))
	n := 1
	for slices.Contains(taken, n) {
		n++
	}
	return n
}

// addressOf are addresses of labs without Kubernetes, too.
func addressOf(family core.IPFamily, n int) string {
	if family == core.IPv6Protocol {
		return "fc00:f853:ccd:e793:200::" + strconv.FormatInt(int64(n), 16)
	}
	return "172.18.200." + strconv.Itoa(n)
}

func readyAddresses(nodes []core.Node) map[core.IPFamily][]string {
	out := map[core.IPFamily][]string{}
	for _, n := range nodes {
		ready := slices.ContainsFunc(n.Status.Conditions, func(c core.NodeCondition) bool {
			return c.Type == core.NodeReady && c.Status == core.ConditionTrue
		})
		for _, a := range n.Status.Addresses {
			if !ready || a.Type != core.NodeInternalIP {
				continue
			}
			family := core.IPv4Protocol
			if strings.Contains(a.Address, ":") {
				family = core.IPv6Protocol
			}
			out[family] = append(out[family], a.Address)
		}
	}
	return out
}

// healthy are the nodes that want the service's packets.
func (b *balancer) healthy(ctx context.Context, s *core.Service, nodes []string) []string {
	if s.Spec.HealthCheckNodePort == 0 {
		return nodes
	}
	var out []string
	for _, n := range nodes {
		if answers(ctx, b.lab, n, s.Spec.HealthCheckNodePort) {
			out = append(out, n)
		}
	}
	return out
}

// route is how the world reaches an address by nodes: by all, or always by the
// same. It asks from an address that is not of the nodes' network, as the world
// outside of a cloud does.
func route(family core.IPFamily, nodes []string, sticky bool) string {
	if len(nodes) == 0 {
		return "unreachable"
	}
	if sticky {
		nodes = nodes[:1]
	}
	source := "198.51.100.1"
	if family == core.IPv6Protocol {
		source = "2001:db8::1"
	}
	var out strings.Builder
	out.WriteString("src " + source)
	for _, n := range nodes {
		out.WriteString(" nexthop via " + n + " dev br0")
	}
	return out.String()
}

func (b *balancer) setRoutes(ctx context.Context, want map[string]string) error {
	for address := range b.routes {
		if want[address] == "" {
			if err := b.ip(ctx, "route", "del", address); err != nil {
				return err
			}
			delete(b.routes, address)
		}
	}
	for address, how := range want {
		if b.routes[address] == how {
			continue
		}
		args := []string{"route", "replace", address}
		if how == "unreachable" {
			args = []string{"route", "replace", "unreachable", address}
		} else {
			args = append(args, strings.Fields(how)...)
		}
		// A route of IPv6 gets next hops added by replace when it has several.
		if b.routes[address] != "" {
			if err := b.ip(ctx, "route", "del", address); err != nil {
				return err
			}
		}
		if err := b.ip(ctx, args...); err != nil {
			return err
		}
		b.routes[address] = how
	}
	return nil
}

func (b *balancer) ip(ctx context.Context, args ...string) error {
	family := "-4"
	if strings.Contains(strings.Join(args, " "), ":") {
		family = "-6"
	}
	if r := b.lab.Exec(ctx, kube.World, append([]string{"ip", family}, args...)...); !r.OK() {
		return fmt.Errorf("ip %s: %s", strings.Join(args, " "), r.Stderr)
	}
	return nil
}
