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

// baselines says what each path is compared with, besides the direct veth.
var baselines = map[string]string{
	path.Weir:       path.Minimal,
	path.WeirNative: path.KernelFar,
	path.WeirVX:     path.KernelVX,
}

// series are the measurements of one kind over one path, one for each round:
// the mean of there and back.
type series struct{ rate, p50, p99, cpu []float64 }

// measured is kind -> path -> series.
type measured map[traffic.Kind]map[string]*series

func (b *bench) traffic(ctx context.Context) (err error) {
	set, err := path.Make(ctx, b.prefix, filepath.Join(b.dir, "paths"), b.bin)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	stop, err := b.serveAll(ctx, set.Paths)
	defer stop()
	if err != nil {
		return err
	}
	control, err := b.inTurn(ctx, set.Paths[:2], traffic.Kinds, max(2, b.rounds))
	if err != nil {
		return err
	}
	b.report.add(os.Stdout, b.controlTable(control, "A/A control before the run: two equal direct veth pairs"))
	all, err := b.inTurn(ctx, set.Paths, traffic.Kinds, b.rounds)
	if err != nil {
		return err
	}
	b.report.Samples = samples(all)
	b.report.add(os.Stdout, b.controlTable(all, "A/A control within the run"))
	for _, kind := range traffic.Kinds {
		trusted := b.trusted(control, kind) && b.trusted(all, kind)
		b.report.add(os.Stdout, kindTable(kind, set.Paths, all[kind], trusted))
	}
	b.trafficGoals(all)
	return nil
}

// inTurn measures every path with each of the kinds, in turn: a round goes through
// the paths and back, so that a drift of the machine is in all of them alike.
func (b *bench) inTurn(ctx context.Context, paths []path.Path, kinds []traffic.Kind, rounds int) (measured, error) {
	m := measured{}
	for _, kind := range kinds {
		m[kind] = map[string]*series{}
		for _, p := range paths {
			m[kind][p.Name] = &series{}
		}
	}
	for r := range rounds {
		for _, kind := range kinds {
			if err := b.round(ctx, paths, kind, r, m[kind]); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func (b *bench) round(ctx context.Context, paths []path.Path, kind traffic.Kind, r int, into map[string]*series) error {
	sum := make([]traffic.Result, len(paths))
	for back := range 2 {
		for i := range paths {
			// The start moves on with each round: nobody is always behind the same.
			at := (i + r) % len(paths)
			if back == 1 {
				at = (len(paths) - 1 - i + r) % len(paths)
			}
			res, err := b.measure(ctx, paths[at], kind)
			if err != nil {
				return err
			}
			sum[at].Rate += res.Rate / 2
			sum[at].P50 += res.P50 / 2
			sum[at].P99 += res.P99 / 2
			sum[at].CPU += res.CPU / 2
		}
	}
	for i, p := range paths {
		s := into[p.Name]
		s.rate, s.p50, s.p99, s.cpu = append(s.rate, sum[i].Rate), append(s.p50, sum[i].P50), append(s.p99, sum[i].P99), append(s.cpu, sum[i].CPU)
	}
	return nil
}

// The interval in which A/A has to lie for a ratio to be called a difference.
const controlLow, controlHigh = 0.97, 1.03

func (b *bench) trusted(m measured, kind traffic.Kind) bool {
	return aa(m, kind).Within(controlLow, controlHigh)
}

func aa(m measured, kind traffic.Kind) stat.Ratio {
	return stat.Paired(m[kind][path.Control].rate, m[kind][path.Direct].rate)
}

func (b *bench) controlTable(m measured, title string) table {
	t := table{Title: title, Columns: []string{"kind", "A/A", "95 % interval", "within 0.97-1.03"}}
	for _, kind := range traffic.Kinds {
		r := aa(m, kind)
		verdict := "yes"
		if !r.Within(controlLow, controlHigh) {
			verdict = "no: no ratio of this kind is called significant"
		}
		t.Rows = append(t.Rows, row{Cells: []string{string(kind), fmt.Sprintf("%.3f", r.Median), interval(r), verdict}, Bar: &r})
	}
	return t
}

func kindTable(kind traffic.Kind, paths []path.Path, m map[string]*series, trusted bool) table {
	t := table{Title: fmt.Sprintf("%s, client and server on one CPU", kind),
		Columns: []string{"path", kind.Unit(), "p50 us", "p99 us", "x direct veth", "95 % interval", "x its baseline", "95 % interval", "baseline", ""}}
	if !trusted {
		t.Notes = append(t.Notes, "A/A left 0.97-1.03: none of these ratios is called significant.")
	}
	for _, p := range paths {
		s := m[p.Name]
		r := stat.Paired(s.rate, m[path.Direct].rate)
		cells := []string{p.Name, number(stat.Median(s.rate)), blankZero(stat.Median(s.p50)), blankZero(stat.Median(s.p99)),
			fmt.Sprintf("%.3f", r.Median), interval(r), "", "", "", ""}
		if base, ok := baselines[p.Name]; ok {
			q := stat.Paired(s.rate, m[base].rate)
			cells[6], cells[7], cells[8] = fmt.Sprintf("%.3f", q.Median), interval(q), base
			if trusted && q.Differs() {
				cells[9] = "significant"
			}
		}
		t.Rows = append(t.Rows, row{Cells: cells, Bar: &r})
	}
	return t
}

// samples are the rates of every round, for the report.
func samples(m measured) map[string]map[string][]float64 {
	out := map[string]map[string][]float64{}
	for kind, paths := range m {
		out[string(kind)] = map[string][]float64{}
		for name, s := range paths {
			out[string(kind)][name] = s.rate
		}
	}
	return out
}

func (b *bench) trafficGoals(m measured) {
	rr := m[traffic.RR]
	for _, g := range []struct {
		name, path, base string
		want             float64
	}{
		{"same node TCP_RR, of direct veth", path.Weir, path.Direct, 0.95},
		{"two nodes native TCP_RR, of kernel routing", path.WeirNative, path.KernelFar, 1.05},
		{"two nodes VXLAN TCP_RR, of kernel VXLAN", path.WeirVX, path.KernelVX, 1.10},
	} {
		r := stat.Paired(rr[g.path].rate, rr[g.base].rate)
		b.report.goal(g.name, fmt.Sprintf(">= %.2f", g.want), fmt.Sprintf("%.3f (%s)", r.Median, interval(r)), r.Median >= g.want)
	}
}
