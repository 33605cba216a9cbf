package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"weir/bench/cluster"
	"weir/bench/stat"
)

// starts is how often a start and a restart are timed.
const starts = 5

// lifeOf is what the agent part measured.
type lifeOf struct {
	start, restart, endpoints []float64 // milliseconds
	reloaded                  int       // programs that a restart replaced
	idle, busy                []float64 // megabytes
}

// agent times starts and restarts, and reads the agent's memory.
func (b *bench) agent(ctx context.Context) (err error) {
	var l lifeOf
	repeat := starts
	if b.quick {
		repeat = 2
	}
	for i := range repeat {
		if err := b.coldStart(ctx, &l, i == 0); err != nil {
			return err
		}
	}
	if err := b.restarts(ctx, &l, repeat); err != nil {
		return err
	}
	b.agentTable(&l)
	return b.sizes()
}

func (b *bench) spec(name string, second byte) cluster.Spec {
	return cluster.Spec{Name: b.prefix + "-" + name, Dir: filepath.Join(b.dir, name), Bin: b.bin, Nodes: 1, Second: second}
}

// coldStart is a node that never had an agent: nothing is pinned.
func (b *bench) coldStart(ctx context.Context, l *lifeOf, memory bool) (err error) {
	c, err := cluster.Up(ctx, b.spec("start", 53))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down(), os.RemoveAll(c.Dir)) }()
	l.start = append(l.start, ms(c.Nodes[0].Ready))
	if memory {
		l.idle, err = b.rss(ctx, c.Nodes[0])
	}
	return err
}

// restarts stops and starts the agent of a node that has pods.
func (b *bench) restarts(ctx context.Context, l *lifeOf, repeat int) (err error) {
	c, err := cluster.Up(ctx, b.spec("re", 54))
	if err != nil {
		return err
	}
	n := c.Nodes[0]
	pods := make([]cluster.Pod, b.pods)
	defer func() {
		for _, p := range pods {
			if p.Netns.Name != "" {
				err = errors.Join(err, ignore(n.Plugin(), p.Attachment), p.Netns.Remove())
			}
		}
		err = errors.Join(err, c.Down())
	}()
	if err := addAll(c, n, pods); err != nil {
		return err
	}
	if err := n.EndpointsReady(ctx, len(pods)); err != nil {
		return err
	}
	before, err := programIDs(n)
	if err != nil {
		return err
	}
	for range repeat {
		if err := n.Stop(); err != nil {
			return err
		}
		began := time.Now()
		took, err := n.Start(ctx)
		if err != nil {
			return err
		}
		if err := n.EndpointsReady(ctx, len(pods)); err != nil {
			return err
		}
		l.restart, l.endpoints = append(l.restart, ms(took)), append(l.endpoints, ms(time.Since(began)))
	}
	after, err := programIDs(n)
	if err != nil {
		return err
	}
	for name, id := range after {
		if before[name] != id {
			l.reloaded++
		}
	}
	l.busy, err = b.rss(ctx, n)
	return err
}

// addAll adds pods, width at once.
func addAll(c *cluster.Cluster, n *cluster.Node, pods []cluster.Pod) error {
	errs := make([]error, len(pods))
	next := make(chan int)
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			for i := range next {
				pods[i], errs[i] = c.Add(n, fmt.Sprintf("p%d", i))
			}
		})
	}
	for i := range pods {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// programIDs are the kernel's numbers of the programs a node has pinned: a
// program that is loaded again gets another one.
func programIDs(n *cluster.Node) (map[string]uint32, error) {
	dir := filepath.Join(n.BPFRoot(), "weir", "programs")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list programs: %w", err)
	}
	out := map[string]uint32{}
	for _, e := range entries {
		p, err := ebpf.LoadPinnedProgram(filepath.Join(dir, e.Name()), nil)
		if err != nil {
			return nil, fmt.Errorf("open program %s: %w", e.Name(), err)
		}
		info, err := p.Info()
		p.Close()
		if err != nil {
			return nil, fmt.Errorf("ask for program %s: %w", e.Name(), err)
		}
		id, _ := info.ID()
		out[e.Name()] = uint32(id)
	}
	return out, nil
}

// rss reads the agent's memory in megabytes five times after it has settled.
func (b *bench) rss(ctx context.Context, n *cluster.Node) ([]float64, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(b.settle):
	}
	var out []float64
	for range 5 {
		v, err := n.RSS()
		if err != nil {
			return nil, fmt.Errorf("read memory of the agent: %w", err)
		}
		out = append(out, float64(v)/1e6)
	}
	return out, nil
}

func (b *bench) agentTable(l *lifeOf) {
	t := table{Title: "Agent: start, restart and memory", Unit: "ms or MB", Columns: []string{"what", "median", "lowest", "highest", "unit"},
		Notes: []string{fmt.Sprintf("Ready is when CNI STATUS is served. Memory is VmRSS %s after the last change. Programs that the restarts replaced: %d.", b.settle, l.reloaded)}}
	for _, x := range []struct {
		name, unit string
		values     []float64
	}{
		{"first start, no pods: exec to ready", "ms", l.start},
		{fmt.Sprintf("restart with %d pods: exec to ready", b.pods), "ms", l.restart},
		{fmt.Sprintf("restart with %d pods: exec to all endpoints ready", b.pods), "ms", l.endpoints},
		{"memory, no pods", "MB", l.idle},
		{fmt.Sprintf("memory, %d pods, after a restart", b.pods), "MB", l.busy},
	} {
		r := stat.Of(x.values)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{x.name, number(r.Median), number(slices.Min(x.values)), number(slices.Max(x.values)), x.unit}})
	}
	b.report.add(os.Stdout, t)
	start, restart, idle := stat.Median(l.start), stat.Median(l.endpoints), stat.Median(l.idle)
	b.report.goal("agent start, exec to ready", "<= 1 s", number(start)+" ms", start <= 1000)
	b.report.goal(fmt.Sprintf("restart with %d pods, all endpoints ready", b.pods), "<= 1 s, 0 programs loaded",
		fmt.Sprintf("%s ms, %d programs", number(restart), l.reloaded), restart <= 1000 && l.reloaded == 0)
	b.report.goal("agent memory without pods", "<= 60 MB", number(idle)+" MB", idle <= 60)
}

// sizes lists the programs that are installed.
func (b *bench) sizes() error {
	t := table{Title: "Binaries", Unit: "MB", Columns: []string{"program", "MB"}}
	sizes := map[string]float64{}
	for _, name := range []string{"weir-agent", "weir-cni", "weir"} {
		st, err := os.Stat(filepath.Join(b.bin, name))
		if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		sizes[name] = float64(st.Size()) / 1e6
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		r := stat.Of([]float64{sizes[name]})
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{name, fmt.Sprintf("%.1f", sizes[name])}})
	}
	b.report.add(os.Stdout, t)
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
