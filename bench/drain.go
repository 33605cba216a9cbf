package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"weir/bench/prog"
	"weir/bench/stat"
)

// drainRates are events a second.
var drainRates = []int{none, 4000, 150000, 500000, most}

const (
	none = 0
	most = -1 // as many as a CPU makes
)

// drained is one measurement.
type drained struct {
	rate       float64 // events a second
	core       float64 // hundredths of it
	lost       uint64
	difference int64 // events that are neither kept nor counted as lost
	heap       uint64
}

// drain measures what reads events and keeps flows: how many a second without loss on one
// CPU, whether each that is lost is counted, and what few of them cost.
func (b *bench) drain(ctx context.Context) (err error) {
	set, err := prog.Make(b.prefix, b.dir)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	t, err := set.MakeTeller(filepath.Join(b.dir, "drain"), flowRoom, toldFlows)
	defer func() { err = errors.Join(err, t.Close()) }()
	if err != nil {
		return err
	}
	r, err := b.startReader(ctx, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	all := map[int][]drained{}
	err = set.Inside(func() error {
		undo, err := pinThread((b.cpu + 1) % runtime.NumCPU())
		defer undo()
		if err != nil {
			return err
		}
		if _, err := b.tellAt(ctx, t, r, drainRates[3]); err != nil { // the ring of flows is full then, as it is for good
			return err
		}
		for range min(b.rounds, 5) {
			for _, rate := range drainRates {
				d, err := b.tellAt(ctx, t, r, rate)
				if err != nil {
					return err
				}
				all[rate] = append(all[rate], d)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.report.add(os.Stdout, drainTable(all))
	b.drainGoals(all)
	return nil
}

// calmTime is after how long a reader has forgotten how full the rings were.
const calmTime = 300 * time.Millisecond

func (b *bench) tellFor() time.Duration {
	if b.quick {
		return 500 * time.Millisecond
	}
	return 3 * time.Second
}

// tellAt makes events at a rate, and waits until they are read.
func (b *bench) tellAt(ctx context.Context, t *prog.Teller, r *reader, rate int) (d drained, err error) {
	start, err := r.ask()
	if err != nil {
		return d, err
	}
	const tick = 5 * time.Millisecond
	batch := uint32(max(rate, 0) * int(tick) / int(time.Second) / 2)
	if rate == most {
		batch = 5000
	}
	time.Sleep(calmTime)
	var known, denied uint64
	cpu, begin := cpuOf(r.pid), time.Now()
	for next := begin; time.Since(begin) < b.tellFor(); next = next.Add(tick) {
		if err := ctx.Err(); err != nil {
			return d, err
		}
		if rate != most {
			time.Sleep(time.Until(next))
		}
		if rate == none {
			continue
		}
		k, err := t.Tell(false, batch)
		if err != nil {
			return d, err
		}
		n, err := t.Tell(true, batch)
		if err != nil {
			return d, err
		}
		known, denied = known+k, denied+n
	}
	took := time.Since(begin)
	d.rate, d.core = float64(known+denied)/took.Seconds(), 100*(cpuOf(r.pid)-cpu).Seconds()/took.Seconds()
	for limit := time.Now().Add(settleTime); ; time.Sleep(20 * time.Millisecond) {
		now, err := r.ask()
		if err != nil {
			return d, err
		}
		verdicts, traces := now.Verdicts-start.Verdicts, now.Traces-start.Traces
		d.lost, d.heap = verdicts+traces, now.Heap
		d.difference = int64(now.Flows-start.Flows) - int64(prog.FlowsOf(known-traces, denied-verdicts))
		if d.difference >= 0 || time.Now().After(limit) {
			return d, nil
		}
	}
}

func drainTable(all map[int][]drained) table {
	t := table{Title: "Reading events: what reads them and keeps flows, on one CPU", Unit: "% of a core",
		Columns: []string{"events a second", "made a second", "% of a core", "95 % interval", "lost", "neither kept nor counted", "heap MiB"},
		Notes: []string{"Half are of known connections, half denials, which are two flows each; a program makes them on another CPU if there is one. " +
			"The reader is the agent's (rings, names, ring of 16 MiB) in a process of its own, with all its threads on one CPU."}}
	for _, rate := range drainRates {
		var cores, made []float64
		var lost uint64
		var difference int64
		heap := uint64(0)
		for _, d := range all[rate] {
			cores, made = append(cores, d.core), append(made, d.rate)
			lost, difference, heap = lost+d.lost, difference+max(d.difference, -d.difference), max(heap, d.heap)
		}
		name := thousands(uint32(max(rate, 0)))
		switch rate {
		case none:
			name = "none"
		case most:
			name = "as many as can be"
		}
		c := stat.Of(cores)
		t.Rows = append(t.Rows, row{Bar: &c, Cells: []string{name, fmt.Sprintf("%.0f", stat.Median(made)), fmt.Sprintf("%.2f", c.Median), fmt.Sprintf("%.2f-%.2f", c.Low, c.High),
			fmt.Sprint(lost), fmt.Sprint(difference), fmt.Sprintf("%.1f", float64(heap)/(1<<20))}})
	}
	return t
}

func (b *bench) drainGoals(all map[int][]drained) {
	for _, rate := range []int{150000, 500000} {
		var lost uint64
		var made []float64
		for _, d := range all[rate] {
			lost, made = lost+d.lost, append(made, d.rate)
		}
		m := stat.Median(made)
		b.report.goal(fmt.Sprintf("%d,000 events a second on one core", rate/1000), "0 lost", fmt.Sprintf("%d lost at %.0f a second", lost, m), lost == 0 && m >= 0.99*float64(rate))
	}
	var difference int64
	var lost uint64
	for _, list := range all {
		for _, d := range list {
			difference, lost = difference+max(d.difference, -d.difference), lost+d.lost
		}
	}
	b.report.goal("events that are neither kept as flows nor counted as lost", "0", fmt.Sprintf("%d, with %d lost", difference, lost), difference == 0)
	var cores []float64
	for _, d := range all[4000] {
		cores = append(cores, d.core)
	}
	c := stat.Median(cores)
	b.report.goal("4,000 events a second", "< 1 % of a core", fmt.Sprintf("%.2f %%", c), c < 1)
}

// reader is the process that reads.
type reader struct {
	pid  int
	in   io.WriteCloser
	out  *json.Decoder
	wait func() error
}

func (b *bench) startReader(ctx context.Context, t *prog.Teller) (*reader, error) {
	cmd := self(ctx, drainChild, t.Root(), fmt.Sprint(flowRoom), fmt.Sprint(b.cpu))
	cmd.Env = os.Environ() // an agent's runtime has its defaults
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a reader of events: %w", err)
	}
	r := &reader{cmd.Process.Pid, in, json.NewDecoder(bufio.NewReader(out)), cmd.Wait}
	// What was told before it began is read first.
	for last, same := uint64(0), 0; same < 3; time.Sleep(100 * time.Millisecond) {
		now, err := r.ask()
		if err != nil {
			return nil, errors.Join(err, r.end())
		}
		if same++; now.Flows != last {
			last, same = now.Flows, 0
		}
	}
	return r, nil
}

func (r *reader) ask() (k kept, err error) {
	if _, err = r.in.Write([]byte("\n")); err == nil {
		err = r.out.Decode(&k)
	}
	if err != nil {
		err = fmt.Errorf("a reader of events says nothing: %w", err)
	}
	return k, err
}

func (r *reader) end() error {
	r.in.Close() // it ends when nobody asks any more
	return r.wait()
}
