package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"weir/bench/prog"
	"weir/bench/stat"
)

// flowRoom is the connections that fit the table of these measurements.
const flowRoom = 1 << 17

// goalsOf are the nanoseconds that an established packet may take, by flows.
var goalsOf = map[uint32]float64{1000: 120, 100000: 400}

// withFlows runs f with from_pod and its maps, where the pod's device is.
func (b *bench) withFlows(connections uint32, f func(*prog.Flows) error) (err error) {
	set, err := prog.Make(b.prefix, b.dir)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	flows, err := set.MakeFlows(b.dir, connections)
	defer func() { err = errors.Join(err, flows.Close()) }()
	if err != nil {
		return err
	}
	return set.Inside(func() error { return f(flows) })
}

// flows times packets of many connections, and those that open one.
func (b *bench) flows(ctx context.Context) error {
	return b.withFlows(flowRoom, func(f *prog.Flows) error {
		return errors.Join(b.established(ctx, f), b.first(ctx, f))
	})
}

// cell is one figure of a table, measured once in each round.
type cell struct {
	way   prog.Way
	n     uint32 // flows, or rules
	twin  bool   // the same as the cell before: the A/A control
	bare  bool   // one lookup, and nothing else
	times []float64
}

// established compares numbers of flows, with policy in force.
func (b *bench) established(ctx context.Context, f *prog.Flows) error {
	if err := f.Enforce(100); err != nil {
		return err
	}
	packets := uint32(400000)
	if b.quick {
		packets = 50000
	}
	var cells []*cell
	for _, flows := range []uint32{1000, 100000} {
		cells = append(cells, &cell{n: flows, bare: true})
		for i, w := range f.Ways {
			cells = append(cells, &cell{way: w, n: flows})
			if i == 0 {
				cells = append(cells, &cell{way: w, n: flows, twin: true})
			}
		}
	}
	for range b.rounds {
		for _, c := range cells {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			ns, err := c.established(f, packets)
			if err != nil {
				return err
			}
			c.times = append(c.times, ns)
		}
	}
	t := table{Title: "Established packets: ns in from_pod, net of an empty program", Unit: "ns",
		Columns: []string{"way and flows", "ns", "95 % interval", "x one lookup"},
		Notes: []string{"Each packet is of a flow taken by chance; policy of 100 rules in force at both ends; 100 destinations on the node, 1,000 beyond the tunnel.",
			"The same few instructions that pick the flow, before an empty program, are subtracted."}}
	var base *cell
	for _, c := range cells {
		name := fmt.Sprintf("%s, %s flows", c.way.Name, thousands(c.n))
		if c.bare {
			base, name = c, fmt.Sprintf("one lookup in as large a hash, %s flows", thousands(c.n))
		}
		if c.twin {
			name += " again (A/A)"
		}
		r, q := stat.Of(c.times), stat.Paired(c.times, base.times)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{name, fmt.Sprintf("%.0f", r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High), fmt.Sprintf("%.2f (%.2f-%.2f)", q.Median, q.Low, q.High)}})
		if !c.twin && !c.bare {
			b.report.goal("established packet, "+name, fmt.Sprintf("<= %.0f ns", goalsOf[c.n]), fmt.Sprintf("%.0f ns", r.Median), r.Median <= goalsOf[c.n])
		}
	}
	b.report.add(os.Stdout, t)
	return nil
}

// established measures the cell once.
func (c *cell) established(f *prog.Flows, packets uint32) (float64, error) {
	if c.bare {
		return f.Bare(c.n, packets)
	}
	if !c.twin {
		if err := f.Open(c.way, c.n); err != nil {
			return 0, err
		}
	}
	return f.Established(c.way, c.n, packets)
}

// first compares numbers of rules by the packet that opens a connection.
func (b *bench) first(ctx context.Context, f *prog.Flows) error {
	packets := uint32(50000)
	if b.quick {
		packets = 10000
	}
	var cells []*cell
	for _, n := range []uint32{0, 100, 10000} {
		for _, w := range f.Ways {
			cells = append(cells, &cell{way: w, n: n})
		}
		cells = append(cells, &cell{way: f.Ways[len(f.Ways)-1], n: n, twin: true})
	}
	for range b.rounds {
		for i, c := range cells {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if i == 0 || cells[i-1].n != c.n {
				if err := f.Enforce(int(c.n)); err != nil {
					return err
				}
			}
			ns, err := f.First(c.way, packets)
			if err != nil {
				return err
			}
			c.times = append(c.times, ns)
		}
	}
	t := table{Title: "First packets: ns in from_pod, net of an empty program", Unit: "ns",
		Columns: []string{"way and rules", "ns", "95 % interval", "x no rules"},
		Notes:   []string{fmt.Sprintf("A TCP SYN of a connection that the table did not know; %s of them, then the table is emptied. Half of the rules are for each direction.", thousands(packets))}}
	none := map[string]*cell{}
	for _, c := range cells {
		name := fmt.Sprintf("%s, %s rules", c.way.Name, thousands(c.n))
		if c.twin {
			name += " again (A/A)"
		} else if c.n == 0 {
			none[c.way.Name] = c
		}
		r, q := stat.Of(c.times), stat.Paired(c.times, none[c.way.Name].times)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{name, fmt.Sprintf("%.0f", r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High), fmt.Sprintf("%.2f (%.2f-%.2f)", q.Median, q.Low, q.High)}})
	}
	b.report.add(os.Stdout, t)
	return nil
}

// thousands writes a number with commas.
func thousands(n uint32) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
