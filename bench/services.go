package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"weir/bench/path"
	"weir/bench/services"
	"weir/bench/stat"
	"weir/bench/traffic"
	"weir/test/kubeproxy"
)

// against names two paths, of which the second is what the first is compared with.
type against struct {
	kind       traffic.Kind
	path, base string
	want       float64 // of the ratio; 0: none
}

// services compares new connections to services, requests over a connection, and
// both from outside, with what kube-proxy makes of them.
func (b *bench) services(ctx context.Context) (err error) {
	counts, err := b.serviceCounts()
	if err != nil {
		return err
	}
	peers, err := b.peers(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: without kube-proxy:", err)
	}
	set, err := path.MakeServices(ctx, b.prefix, filepath.Join(b.dir, "services"), b.bin, peers, counts[:])
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	stop, err := b.serveAll(ctx, set.Paths)
	defer stop()
	if err != nil {
		return err
	}
	var crr, rr []path.Path
	for _, p := range set.Paths {
		many := strings.Contains(p.Name, fmt.Sprintf(", %d services", counts[1]))
		if many {
			rr = append(rr, p)
		}
		if many || len(p.Services) > 1 && !strings.Contains(p.Name, "outside") {
			crr = append(crr, p)
		}
	}
	all, err := b.inTurn(ctx, crr, []traffic.Kind{traffic.CRR}, b.rounds)
	if err != nil {
		return err
	}
	over, err := b.inTurn(ctx, rr, []traffic.Kind{traffic.RR}, b.rounds)
	if err != nil {
		return err
	}
	all[traffic.RR] = over[traffic.RR]
	b.report.Samples = samples(all)
	b.report.add(os.Stdout, ratesTable("Services", traffic.CRR, crr, all))
	b.report.add(os.Stdout, ratesTable("Services", traffic.RR, rr, all))
	b.ratios("Services", all, serviceComparisons(peers, counts))
	b.peersTook(set, peers, counts)
	return nil
}

// serviceCounts are how many services there are. The paths from outside are
// measured with the middle one.
func (b *bench) serviceCounts() (out [3]int, err error) {
	if _, err := fmt.Sscanf(b.options.counts, "%d,%d,%d", &out[0], &out[1], &out[2]); err != nil || !slices.IsSorted(out[:]) || out[0] < services.Measured {
		return out, fmt.Errorf("-services %s: want three numbers that grow, the first %d or more", b.options.counts, services.Measured)
	}
	return out, nil
}

// peers are the ways of kube-proxy that this machine has.
func (b *bench) peers(ctx context.Context) ([]path.Peer, error) {
	binary, err := kubeproxy.Build(ctx)
	if err != nil {
		return nil, err
	}
	all := []path.Peer{
		{Name: "kube-proxy iptables", Binary: binary, Mode: "iptables", Most: 1000}, // it takes a minute and a half for them
		{Name: "kube-proxy iptables (legacy)", Binary: binary, Mode: "iptables", Legacy: true},
	}
	if _, err := exec.LookPath("nft"); err != nil {
		fmt.Fprintln(os.Stderr, "bench: without nftables:", err)
	} else {
		all = append(all, path.Peer{Name: "kube-proxy nftables", Binary: binary, Mode: "nftables"})
	}
	return slices.DeleteFunc(all, func(p path.Peer) bool {
		mode := p.Mode
		if p.Legacy {
			mode = "legacy"
		}
		return !strings.Contains(","+b.modes+",", ","+mode+",")
	}), nil
}

// serviceComparisons are all ratios that say something, and the goals.
func serviceComparisons(peers []path.Peer, counts [3]int) []against {
	few, some, many := counts[0], counts[1], counts[2]
	out := []against{
		{traffic.CRR, path.Of(path.Again, few), path.Of(path.Sockets, few), 0},
		{traffic.CRR, path.Of(path.Again, some), path.Of(path.Sockets, some), 0},
		{traffic.CRR, path.Of(path.Again, many), path.Of(path.Sockets, many), 0},
		{traffic.RR, path.Of(path.Again, some), path.Of(path.Sockets, some), 0},
		{traffic.CRR, path.Of(path.Sockets, some), path.Of(path.Sockets, few), 0.97},
		{traffic.CRR, path.Of(path.Sockets, many), path.Of(path.Sockets, few), 0.97},
		{traffic.CRR, path.Of(path.Packets, many), path.Of(path.Packets, few), 0.97},
		{traffic.CRR, path.Of(path.Sockets, some), path.Of(path.PodItself, some), 0},
		{traffic.CRR, path.Of(path.Packets, some), path.Of(path.PodItself, some), 0},
		{traffic.RR, path.Of(path.Sockets, some), path.Of(path.PodItself, some), 1},
		{traffic.RR, path.Of(path.Packets, some), path.Of(path.PodItself, some), 0.94},
	}
	for _, p := range peers {
		for i, count := range counts {
			want := []float64{1, 0, 2}[i]
			if p.Mode != "iptables" {
				want = 0
			}
			out = append(out, against{traffic.CRR, path.Of(path.Sockets, count), p.Service(count), want},
				against{traffic.CRR, path.Of(path.Packets, count), p.Service(count), 0})
		}
		out = append(out, against{traffic.RR, path.Of(path.Sockets, some), p.Service(some), 0},
			against{traffic.RR, path.Of(path.PodItself, some), p.Pod(some), 0},
			against{traffic.CRR, path.Of(path.PodItself, some), p.Pod(some), 0},
			against{traffic.CRR, path.Of(path.AtNode, some), p.Node(some), 1.5},
			against{traffic.RR, path.Of(path.AtNode, some), p.Node(some), 1.5})
	}
	return out
}

// ratios prints them. What a machine has no peer or no control group for is
// left out.
func (b *bench) ratios(what string, m measured, list []against) {
	t := table{Title: what + ": ratios", Columns: []string{"kind", "path", "of", "ratio of CPU", "95 % interval", "", "by the clock", "95 % interval"},
		Notes: []string{"CPU: what both processes use for a request, the base's by the path's, so that more is better. Others' work on the machine lengthens it less than the clock's time."}}
	for _, x := range list {
		top, base := m[x.kind][x.path], m[x.kind][x.base]
		if top == nil || base == nil {
			continue
		}
		r, clock := stat.Paired(base.cpu, top.cpu), stat.Paired(top.rate, base.rate)
		note := ""
		if x.want > 0 {
			note = "missed"
			if r.Median >= x.want {
				note = "met"
			}
			note = fmt.Sprintf(">= %.2f: %s", x.want, note)
			b.report.goal(fmt.Sprintf("%s: %s %s, of %s", what, x.kind, x.path, x.base), fmt.Sprintf(">= %.2f", x.want), fmt.Sprintf("%.3f (%s)", r.Median, interval(r)), r.Median >= x.want)
		}
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{string(x.kind), x.path, x.base, fmt.Sprintf("%.3f", r.Median), interval(r), note, fmt.Sprintf("%.3f", clock.Median), interval(clock)}})
	}
	b.report.add(os.Stdout, t)
}

func ratesTable(what string, kind traffic.Kind, paths []path.Path, m measured) table {
	t := table{Title: fmt.Sprintf("%s: %s, client and server on one CPU", what, kind), Unit: kind.Unit(), Columns: []string{"path", kind.Unit(), "95 % interval", "CPU us", "p50 us", "p99 us"}}
	for _, p := range paths {
		s := m[kind][p.Name]
		r := stat.Of(s.rate)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{p.Name, number(r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High), number(stat.Median(s.cpu)), number(stat.Median(s.p50)), number(stat.Median(s.p99))}})
	}
	return t
}

// peersTook is how long kube-proxy needed from its start to the first connection.
func (b *bench) peersTook(set *path.Set, peers []path.Peer, counts [3]int) {
	t := table{Title: "Services: kube-proxy from its start until services answer", Unit: "s", Columns: []string{"kube-proxy", "s"}}
	for _, p := range peers {
		for _, count := range counts {
			took := set.Took[p.Service(count)].Seconds()
			if took == 0 {
				continue
			}
			r := stat.Of([]float64{took})
			t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{p.Service(count), number(took)}})
		}
	}
	if len(t.Rows) > 0 {
		b.report.add(os.Stdout, t)
	}
}
