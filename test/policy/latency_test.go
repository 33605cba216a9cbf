package policytest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"weir/bench/rules"
	"weir/state"
	"weir/test/policy/generate"
	"weir/test/policy/oracle"
)

// BenchmarkFileToMaps is the way of one changed policy from its file to the
// maps, with ten thousand rules in force: all loops run, the maps are in memory.
func BenchmarkFileToMaps(b *testing.B) {
	c, err := generate.Parse(small + `
---
apiVersion: v1
kind: Pod
metadata: {name: b5, labels: {app: bench}}
spec: {nodeName: n1, containers: [{name: c, image: x}]}
status: {podIP: 10.0.1.15, podIPs: [{ip: 10.0.1.15}]}
`)
	if err != nil {
		b.Fatal(err)
	}
	a, err := newAgent(b.TempDir(), oracle.Settings{Cluster: "lab", Node: "n1", Mode: "default", IPv4: true})
	if err != nil {
		b.Fatal(err)
	}
	var many []generate.Object
	for _, o := range rules.Objects(10_000) {
		text, err := yaml.Marshal(o)
		if err != nil {
			b.Fatal(err)
		}
		var object generate.Object
		if err := yaml.Unmarshal(text, &object); err != nil {
			b.Fatal(err)
		}
		many = append(many, object)
	}
	for name, objects := range map[string][]generate.Object{"cluster.yaml": c.Objects, "many.yaml": many} {
		if err := os.WriteFile(filepath.Join(a.dir, name), generate.Case{Objects: objects}.ObjectsYAML(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	if err := a.step(ctx); err == nil {
		a.tables.Endpoints.Replace(nil, func(x, y state.Endpoint) bool { return false })
	}
	for _, run := range []func(context.Context) error{a.source.Run, a.identity.Run, a.ipcache.Run, a.policy.Run} {
		go func() { _ = run(ctx) }()
	}
	changed := make(chan struct{}, 1)
	defer a.tables.EndpointPolicies.Notify(changed)()
	settled := time.Now().Add(3 * time.Second)
	for time.Now().Before(settled) {
		a.tables.Endpoints.Replace(a.endpoints(), func(x, y state.Endpoint) bool { return fmt.Sprint(x) == fmt.Sprint(y) })
		time.Sleep(50 * time.Millisecond)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		time.Sleep(time.Duration(25+17*(i%7)) * time.Millisecond)
		text := fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: gate}\nspec: {podSelector: {}, ingress: [{ports: [{port: %d}]}]}\n", 1+i)
		if err := os.WriteFile(filepath.Join(a.dir, "gate"), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		select {
		case <-changed:
		default:
		}
		began := time.Now()
		if err := os.Rename(filepath.Join(a.dir, "gate"), filepath.Join(a.dir, "gate.yaml")); err != nil {
			b.Fatal(err)
		}
		select {
		case <-changed:
			took = append(took, time.Since(began))
		case <-time.After(5 * time.Second):
			b.Fatal("never in force")
		}
	}
	slices.Sort(took)
	for _, q := range []int{50, 99} {
		b.ReportMetric(float64(took[(len(took)-1)*q/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", q))
	}
}
