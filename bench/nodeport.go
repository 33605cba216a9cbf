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
	t := table{Title: "NodePort: live frames, one CPU", Unit: traffic.Frames.Unit(), Columns: []string{"way", traffic.Frames.Unit(), "95 % interval", "ns a packet"}}
	for _, n := range nodes {
		r := stat.Of(all[n.Name].rate)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{n.Name, number(r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High), number(1000 * stat.Median(all[n.Name].cpu))}})
	}
	b.report.add(os.Stdout, t)
	list := []against{{traffic.Frames, path.ByTCAA, path.ByTC, 0}, {traffic.Frames, path.ByXDP, path.ByTC, 0}}
	for _, p := range peers {
		list = append(list, against{traffic.Frames, path.ByXDP, p.Name, 4}, against{traffic.Frames, path.ByTC, p.Name, 1.5})
	}
	b.ratios("NodePort by live frames", measured{traffic.Frames: all}, list)
	return nil
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
