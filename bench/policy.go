package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"weir/bench/cluster"
	"weir/bench/path"
	"weir/bench/probe"
	"weir/bench/stat"
)

const (
	manyRules = 10000
	gatePort  = 7000
)

// ruled says with what a path with rules is compared.
var ruled = []controlled{{path.Ruled, path.Free, path.FreeControl}, {path.RuledFar, path.FreeFar, path.FreeFarAgain}}

// policy compares pods with many rules and without, times changes of policy from
// file to packet, and the compiler alone.
func (b *bench) policy(ctx context.Context) (err error) {
	set, err := path.MakePolicy(ctx, b.prefix, filepath.Join(b.dir, "policy"), b.bin, manyRules)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Rules: pods with %s rules in force, of pods without", thousands(manyRules))
	if err := b.cost(ctx, set, title, "x no policy", ": "+thousands(manyRules)+", of none", ruled); err != nil {
		return err
	}
	if err := b.changes(ctx, set); err != nil {
		return err
	}
	return b.compile(ctx)
}

// gate is a policy that lets the probe's connections through, or does not.
func gate(open bool) *networkingv1.NetworkPolicy {
	o := &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "gate"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}},
	}
	if !open {
		return o
	}
	udp, number := corev1.ProtocolUDP, intstr.FromInt32(gatePort)
	ports := []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &number}}
	peers := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	o.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: peers, Ports: ports}}
	o.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: peers, Ports: ports}}
	return o
}

// changes opens and closes the gate, between pods of one node and of two.
func (b *bench) changes(ctx context.Context, set *path.Set) error {
	rounds := 30
	if b.quick {
		rounds = 5
	}
	t := table{Title: "Change: from the object's rename to the first packet that goes by it", Unit: "ms",
		Columns: []string{"pods", "changes", "p50 ms", "95 % interval", "p99", "longest", "allow p50", "deny p50"},
		Notes:   []string{"Half of the changes allow, half deny; a new UDP connection each 0.2 ms shows it. Each policy isolates both ends in both directions."}}
	all := map[*cluster.Cluster][]float64{}
	for _, p := range set.Paths {
		if p.Name == path.FreeControl || p.Name == path.FreeFarAgain {
			continue
		}
		c := set.Clusters[0]
		if p.Name == path.Ruled || p.Name == path.RuledFar {
			c = set.Clusters[1]
		}
		allow, deny, err := b.toggle(ctx, c, p, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		both := append(append([]float64{}, allow...), deny...)
		all[c] = append(all[c], both...)
		r := stat.Of(both)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{p.Name, fmt.Sprint(len(both)), number(r.Median), fmt.Sprintf("%.1f-%.1f", r.Low, r.High), number(stat.Percentile(both, 99)),
			number(stat.Percentile(both, 100)), number(stat.Median(allow)), number(stat.Median(deny))}})
	}
	b.report.add(os.Stdout, t)
	for i, what := range []string{"no other policy", thousands(manyRules) + " rules in force"} {
		times := all[set.Clusters[i]]
		p99 := stat.Percentile(times, 99)
		b.report.goal(fmt.Sprintf("policy change to enforced, %s, p99 of %d", what, len(times)), "<= 50 ms", number(p99)+" ms", p99 <= 50)
	}
	return nil
}

func (b *bench) toggle(ctx context.Context, c *cluster.Cluster, p path.Path, rounds int) (allow, deny []float64, err error) {
	x, err := probe.New(p.Client, p.Server, p.Addr, gatePort)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	for i := range 2*rounds + 1 { // the first closes it, and does not count
		open := i%2 == 1
		swap, err := c.Prepare(gate(open))
		if err != nil {
			return nil, nil, err
		}
		took, err := x.Change(ctx, swap, open)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case open:
			allow = append(allow, ms(took))
		case i > 0:
			deny = append(deny, ms(took))
		}
		time.Sleep(time.Duration(20+17*(i%7)) * time.Millisecond) // no beat with anything of the agent's
	}
	return allow, deny, nil
}

// compiles are the benchmarks of control/policy, with their goals.
var compiles = []struct {
	name, what string
	want       float64 // ms; 0: none
}{
	{"BenchmarkCompile", "compile 1,000 policies with 10,000 identities and 200 endpoints", 200},
	{"BenchmarkOneMoreIdentity", "one more identity", 2},
	{"BenchmarkOneRule", "one policy changed", 0},
}

var benchLine = regexp.MustCompile(`(?m)^(Benchmark\w+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op`)

// compile runs the compiler's own benchmarks.
func (b *bench) compile(ctx context.Context) error {
	count, long := "5", "1s"
	if b.quick {
		count, long = "1", "1x"
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^Benchmark(Compile|OneMoreIdentity|OneRule)$", "-count", count, "-benchtime", long, "weir/control/policy")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run the benchmarks of control/policy: %w: %s", err, strings.TrimSpace(string(out)))
	}
	times := map[string][]float64{}
	for _, m := range benchLine.FindAllStringSubmatch(string(out), -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return fmt.Errorf("read %q: %w", m[0], err)
		}
		times[m[1]] = append(times[m[1]], ns/1e6)
	}
	t := table{Title: "Compiler: rows to entries, maps in memory", Unit: "ms", Columns: []string{"what", "ms", "95 % interval"}}
	for _, x := range compiles {
		if len(times[x.name]) == 0 {
			return fmt.Errorf("control/policy has no %s", x.name)
		}
		r := stat.Of(times[x.name])
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{x.what, number(r.Median), fmt.Sprintf("%.3g-%.3g", r.Low, r.High)}})
		if x.want > 0 {
			b.report.goal(x.what, fmt.Sprintf("<= %.0f ms", x.want), number(r.Median)+" ms", r.Median <= x.want)
		}
	}
	b.report.add(os.Stdout, t)
	return nil
}
