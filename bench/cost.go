package main

import (
	"context"
	"fmt"
	"os"

	"weir/bench/path"
	"weir/bench/stat"
	"weir/bench/traffic"
)

// controlled says with what a path is compared that has something more, and what is A/A.
type controlled struct{ path, base, control string }

// cost is what that more costs requests and connections: ratios of the rates, with
// goals for both. of heads the column of ratios, and goal ends the name of a goal.
func (b *bench) cost(ctx context.Context, set *path.Set, title, of, goal string, list []controlled) error {
	stop, err := b.serveAll(ctx, set.Paths)
	defer stop()
	if err != nil {
		return err
	}
	kinds := []traffic.Kind{traffic.RR, traffic.CRR}
	all, err := b.inTurn(ctx, set.Paths, kinds, b.rounds)
	if err != nil {
		return err
	}
	t := table{Title: title, Columns: []string{"kind and path", "rate", of, "95 % interval", "A/A", "95 % interval", ""}}
	for i, kind := range kinds {
		want := []float64{0.99, 0.97}[i]
		for _, x := range list {
			m := all[kind]
			r, a := stat.Paired(m[x.path].rate, m[x.base].rate), stat.Paired(m[x.control].rate, m[x.base].rate)
			note := ""
			if !a.Within(controlLow, controlHigh) {
				note = "A/A left 0.97-1.03: nothing is significant"
			} else if r.Differs() {
				note = "significant"
			}
			name := fmt.Sprintf("%s, %s", kind, x.path)
			t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{name, number(stat.Median(m[x.path].rate)), fmt.Sprintf("%.3f", r.Median), interval(r), fmt.Sprintf("%.3f", a.Median), interval(a), note}})
			b.report.goal(name+goal, fmt.Sprintf(">= %.2f", want), fmt.Sprintf("%.3f (%s), A/A %.3f", r.Median, interval(r), a.Median), r.Median >= want)
		}
	}
	b.report.add(os.Stdout, t)
	return nil
}
