package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"weir/bench/prog"
	"weir/bench/stat"
)

// manyConnections is how many the table holds that is swept.
const manyConnections = 1 << 19

// connections sweeps a large table, and looks at its memory.
func (b *bench) connections(ctx context.Context) error {
	rounds := min(b.rounds, 5)
	if b.quick {
		rounds = 1
	}
	return b.withFlows(manyConnections, func(f *prog.Flows) error {
		var all []prog.Sweeps
		for range rounds {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s, err := f.Sweeps(f.Ways[0], manyConnections)
			if err != nil {
				return err
			}
			all = append(all, s)
		}
		bytes, room := f.Memory()
		b.sweepTable(all, bytes, room)
		return nil
	})
}

func (b *bench) sweepTable(all []prog.Sweeps, bytes uint64, room uint32) {
	t := table{Title: "Sweep: CPU time of one sweep over the connection table", Unit: "ms",
		Columns: []string{"sweep", "CPU ms", "95 % interval", "elapsed ms", "deleted, mean", "used during all", "of these spared", "lost"},
		Notes:   []string{fmt.Sprintf("%s connections in each of %d sweeps; a table with room for %s takes %.1f MB, as the kernel counts it.", thousands(manyConnections), len(all), thousands(room), float64(bytes)/1e6)}}
	lost, worst := 0, 0.0
	for _, x := range []struct {
		name string
		of   func(prog.Sweeps) prog.Sweep
	}{
		{"none idle", func(s prog.Sweeps) prog.Sweep { return s.Busy }},
		{"half idle: made void", func(s prog.Sweeps) prog.Sweep { return s.Mark }},
		{"half idle: deleted by the next sweep", func(s prog.Sweeps) prog.Sweep { return s.Half }},
		{"half idle: deleted, and used meanwhile", func(s prog.Sweeps) prog.Sweep { return s.Racing }},
	} {
		var cpu, elapsed []float64
		var sum prog.Sweep
		for _, each := range all {
			s := x.of(each)
			cpu, elapsed = append(cpu, ms(s.CPU)), append(elapsed, ms(s.Elapsed))
			sum.Deleted, sum.Used, sum.Spared, sum.Lost = sum.Deleted+s.Deleted, sum.Used+s.Used, sum.Spared+s.Spared, sum.Lost+s.Lost
		}
		r := stat.Of(cpu)
		lost, worst = lost+sum.Lost, max(worst, r.Median)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{x.name, number(r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High), number(stat.Median(elapsed)),
			fmt.Sprint(sum.Deleted / len(all)), fmt.Sprint(sum.Used), fmt.Sprint(sum.Spared), fmt.Sprint(sum.Lost)}})
	}
	b.report.add(os.Stdout, t)
	mb := float64(bytes) / 1e6
	b.report.goal(fmt.Sprintf("memory of %s connections", thousands(room)), "<= 80 MB", fmt.Sprintf("%.1f MB", mb), mb <= 80)
	b.report.goal(fmt.Sprintf("one sweep over %s connections", thousands(manyConnections)), "<= 0.3 s CPU, 0 live ones lost",
		fmt.Sprintf("%.2f s, %d", worst*float64(time.Millisecond)/float64(time.Second), lost), worst <= 300 && lost == 0)
}
