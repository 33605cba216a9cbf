package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"weir/bench/path"
	"weir/bench/stat"
	"weir/bench/traffic"
)

// nodePort compares how many frames of a connection to a NodePort a CPU sends on to
// the backend of another node.
func (b *bench) nodePort(ctx context.Context) (err error) {
	peers, err := b.peers(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: without kube-proxy:", err)
	}
	set, nodes, err := path.MakeNodePorts(ctx, b.prefix, filepath.Join(b.dir, "nodeport"), b.bin, peers)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	all, err := b.frames(nodes)
	if err != nil {
		return err
	}
	t := table{Title: "NodePort: live frames, one CPU", Unit: traffic.Frames.Unit(), Columns: []string{"way", traffic.Frames.Unit(), "95 % interval", "ns a packet", "less the wire"}}
	less := lessWire(all)
	for _, n := range nodes {
		r, net := stat.Of(all[n.Name].rate), "-"
		if less[n.Name] != nil {
			net = number(1000 * stat.Median(less[n.Name].cpu))
		}
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{n.Name, number(r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High), number(1000 * stat.Median(all[n.Name].cpu)), net}})
	}
	b.report.add(os.Stdout, t)
	var names []string
	for _, p := range peers {
		names = append(names, p.Name)
	}
	b.ratios("NodePort by live frames", measured{traffic.Frames: all},
		append([]against{{traffic.Frames, path.ByTCAA, path.ByTC, 0}, {traffic.Frames, path.ByXDP, path.ByTC, 0}}, frameGoals(names)...))
	b.ratios("NodePort by live frames, less the wire", measured{traffic.Frames: lessWire(all)}, frameGoals(names))
	return nil
}

// frameGoals are what is wanted of XDP and tc against each of them.
func frameGoals(peers []string) (list []against) {
	for _, name := range peers {
		list = append(list, against{traffic.Frames, path.ByXDP, name, 4}, against{traffic.Frames, path.ByTC, name, 1.5})
	}
	return list
}

// lessWire takes from each figure what a frame costs that nobody translates: making
// it, and its way over the devices and back.
func lessWire(all map[string]*series) map[string]*series {
	out := map[string]*series{}
	for name, s := range all {
		if name == path.Wire {
			continue
		}
		net := &series{}
		for r, cpu := range s.cpu {
			net.cpu = append(net.cpu, cpu-all[path.Wire].cpu[r])
			net.rate = append(net.rate, 1e6/net.cpu[r])
		}
		out[name] = net
	}
	return out
}

// frames measures every node in turn.
func (b *bench) frames(nodes []path.NodePort) (map[string]*series, error) {
	count := int(b.slice.Seconds() * 500_000)
	all := map[string]*series{}
	for r := -1; r < b.rounds; r++ { // the first is for neighbours and caches
		for i := range nodes {
			n := nodes[(i+r+1)%len(nodes)]
			rate, cpu, err := n.Wire.Rate(count)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", n.Name, err)
			}
			if all[n.Name] == nil {
				all[n.Name] = &series{}
				continue
			}
			all[n.Name].rate, all[n.Name].cpu = append(all[n.Name].rate, rate), append(all[n.Name].cpu, cpu)
		}
	}
	return all, nil
}
