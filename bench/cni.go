package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"weir/bench/cluster"
	"weir/bench/stat"
	"weir/bench/topo"
)

// announced is the time from the last pod's object to the first ADD.
const announced = time.Second

// width is how many ADDs of a storm run at once.
const width = 8

// contender is a plugin with its times in milliseconds.
type contender struct {
	name     string
	plugin   cluster.Plugin
	cluster  *cluster.Cluster // nil: a plugin that asks nobody about pods
	add, del []float64
	storm    []float64
	took     time.Duration // of the storm
}

// cni compares the plugin with the reference plugins, in turn.
func (b *bench) cni(ctx context.Context) (err error) {
	c, err := cluster.Up(ctx, cluster.Spec{Name: b.prefix + "-cni", Dir: filepath.Join(b.dir, "cni"), Bin: b.bin, Nodes: 1, Second: 52})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down()) }()
	filters, err := cluster.Up(ctx, cluster.Spec{Name: b.prefix + "-cnitc", Dir: filepath.Join(b.dir, "cnitc"), Bin: b.bin, Nodes: 1, Second: 55, Attach: "tc"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, filters.Down()) }()
	all := []*contender{{name: "weir-cni", plugin: c.Nodes[0].Plugin(), cluster: c},
		{name: "weir-cni, bpf.attachMode tc", plugin: filters.Nodes[0].Plugin(), cluster: filters}}
	reference, node, err := b.reference(ctx)
	if err != nil {
		fmt.Fprintln(os.Stdout, "\nThe reference plugins are skipped:", err)
	} else {
		defer func() { err = errors.Join(err, node.Remove()) }()
		all = append(all, &contender{name: "bridge + host-local", plugin: reference})
	}
	if err := b.sequential(ctx, all); err != nil {
		return err
	}
	for _, x := range all {
		if err := b.stormOf(ctx, x); err != nil {
			return err
		}
	}
	b.cniTable(all)
	return nil
}

// reference builds the plugins of bench/peers and makes a node for them.
func (b *bench) reference(ctx context.Context) (cluster.Plugin, topo.Netns, error) {
	dir := filepath.Join(b.dir, "peers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cluster.Plugin{}, topo.Netns{}, err
	}
	const module = "github.com/containernetworking/plugins/plugins/"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", module+"main/bridge", module+"ipam/host-local")
	cmd.Dir = peersDir()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return cluster.Plugin{}, topo.Netns{}, fmt.Errorf("build bridge and host-local in %s: %w: %s", cmd.Dir, err, strings.TrimSpace(string(out)))
	}
	conf, err := json.Marshal(map[string]any{
		"cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
		"ipam": map[string]any{"type": "host-local", "dataDir": filepath.Join(b.dir, "host-local"),
			"ranges": []any{[]any{map[string]any{"subnet": "10.62.0.0/16"}}, []any{map[string]any{"subnet": "fd62::/112"}}}},
	})
	if err != nil {
		return cluster.Plugin{}, topo.Netns{}, err
	}
	node, err := topo.Make(b.prefix + "-br")
	if err != nil {
		return cluster.Plugin{}, node, err
	}
	return cluster.Plugin{Binary: filepath.Join(dir, "bridge"), Config: conf, In: node, Path: dir}, node, node.Forward()
}

// peersDir is bench/peers, from the root of the tree or from bench.
func peersDir() string {
	for _, dir := range []string{"bench/peers", "peers"} {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	return "bench/peers"
}

// sequential runs ADD and DEL one after the other, the contenders in turn.
func (b *bench) sequential(ctx context.Context, all []*contender) error {
	for _, x := range all {
		if err := x.announce("s", b.adds+1); err != nil {
			return err
		}
	}
	for i := range b.adds + 1 { // the first is for warming up
		for j := range all {
			x := all[(i+j)%len(all)]
			if err := ctx.Err(); err != nil {
				return err
			}
			add, del, err := b.addDel(x.plugin, fmt.Sprintf("s%d", i))
			if err != nil {
				return err
			}
			if i > 0 {
				x.add, x.del = append(x.add, add), append(x.del, del)
			}
		}
	}
	return nil
}

// announce makes the objects of count pods known to the agent, long enough before
// they are added: an ADD waits for the identity that they make.
func (x *contender) announce(prefix string, count int) error {
	if x.cluster == nil {
		return nil
	}
	for i := range count {
		if err := x.cluster.Announce(x.cluster.Nodes[0], fmt.Sprint(prefix, i)); err != nil {
			return err
		}
	}
	time.Sleep(announced)
	return nil
}

func (b *bench) addDel(p cluster.Plugin, name string) (add, del float64, err error) {
	ns, err := topo.Make(b.prefix + "-" + name)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, ns.Remove()) }()
	a := cluster.NewAttachment("default/"+name, ns)
	if add, err = call(p, "ADD", a); err != nil {
		return 0, 0, errors.Join(err, ignore(p, a))
	}
	del, err = call(p, "DEL", a)
	return add, del, err
}

// ignore takes back what a failed ADD may have left.
func ignore(p cluster.Plugin, a cluster.Attachment) error {
	_, err := p.Call("DEL", a)
	return err
}

func call(p cluster.Plugin, verb string, a cluster.Attachment) (ms float64, err error) {
	start := time.Now()
	_, err = p.Call(verb, a)
	return float64(time.Since(start).Microseconds()) / 1e3, err
}

// stormOf adds many pods, width at once, and deletes them again.
func (b *bench) stormOf(ctx context.Context, x *contender) (err error) {
	if err := x.announce("t", b.storm); err != nil {
		return err
	}
	var pods []cluster.Attachment
	defer func() {
		for _, a := range pods {
			err = errors.Join(err, ignore(x.plugin, a), a.Netns.Remove())
		}
	}()
	for i := range b.storm {
		ns, err := topo.Make(fmt.Sprintf("%s-t%d", b.prefix, i))
		if err != nil {
			return err
		}
		pods = append(pods, cluster.NewAttachment(fmt.Sprintf("default/t%d", i), ns))
	}
	x.storm = make([]float64, len(pods))
	errs := make([]error, len(pods))
	next := make(chan int)
	var wg sync.WaitGroup
	start := time.Now()
	for range width {
		wg.Go(func() {
			for i := range next {
				x.storm[i], errs[i] = call(x.plugin, "ADD", pods[i])
			}
		})
	}
	for i := range pods {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	wg.Wait()
	x.took = time.Since(start)
	return errors.Join(append(errs, ctx.Err())...)
}

func (b *bench) cniTable(all []*contender) {
	t := table{Title: "CNI: time of one call from exec to exit", Unit: "ms",
		Columns: []string{"plugin", "ADD p50 ms", "95 % interval", "p99", "DEL p50", "p99", "x reference ADD", "95 % interval",
			fmt.Sprintf("storm ADD p50 (%d at once)", width), "p99", "pods/s"}}
	for _, x := range all {
		r, ratio := stat.Of(x.add), stat.Paired(x.add, all[len(all)-1].add)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{x.name, number(r.Median), interval(r), number(stat.Percentile(x.add, 99)),
			number(stat.Median(x.del)), number(stat.Percentile(x.del, 99)), fmt.Sprintf("%.3f", ratio.Median), interval(ratio),
			number(stat.Median(x.storm)), number(stat.Percentile(x.storm, 99)), number(float64(len(x.storm)) / x.took.Seconds())}})
	}
	b.report.add(os.Stdout, t)
	if reference := all[len(all)-1]; len(all) == 3 {
		r := stat.Paired(all[0].add, reference.add)
		b.report.goal("CNI ADD p50, of bridge + host-local", "<= 1", fmt.Sprintf("%.3f (%s): %s ms, %s ms", r.Median, interval(r),
			number(stat.Median(all[0].add)), number(stat.Median(reference.add))), r.Median <= 1)
	}
}
