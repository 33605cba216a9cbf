package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"weir/bench/prog"
	"weir/bench/stat"
)

// programs times every program alone.
func (b *bench) programs(ctx context.Context) (err error) {
	set, err := prog.Make(b.prefix, b.dir)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	rounds, calls := 2*b.rounds, 400
	if b.quick {
		calls = 40
	}
	times := make([][]float64, len(set.Cases))
	err = set.Inside(func() error {
		for range rounds {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := timeAll(set, calls, times); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := table{Title: "Programs: ns per packet by BPF_PROG_TEST_RUN, empty program subtracted", Unit: "ns",
		Columns: []string{"program and way", "ns", "95 % interval", "verified instructions", "machine code bytes"},
		Notes:   []string{"ipcache of 1,000 pods; caches hot. from_overlay includes two instructions of the test's own."}}
	for i, c := range set.Cases {
		r := stat.Of(times[i])
		verified := "unknown"
		if c.Verified > 0 {
			verified = fmt.Sprint(c.Verified)
		}
		t.Rows = append(t.Rows, row{Cells: []string{c.Name, fmt.Sprintf("%.0f", r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High), verified, fmt.Sprint(c.Size)}, Bar: &r})
	}
	b.report.add(os.Stdout, t)
	return nil
}

// timeAll is one round through all cases, each right behind an empty program.
func timeAll(set *prog.Bench, calls int, times [][]float64) error {
	for i, c := range set.Cases {
		empty, _, err := prog.Time(set.Empty, c.Packet, c.Ifindex, calls)
		if err != nil {
			return err
		}
		ns, got, err := prog.Time(c.Program, c.Packet, c.Ifindex, calls)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		if got != c.Want {
			return fmt.Errorf("%s: the program returned %d, want %d: the packet went another way", c.Name, int32(got), int32(c.Want))
		}
		times[i] = append(times[i], ns-empty)
	}
	return nil
}
