package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"weir/bench/path"
	"weir/bench/prog"
	"weir/bench/stat"
	"weir/bpf"
)

// toldFlows is how many connections the programs have that are told of.
const toldFlows = 1000

// teller is from_pod with a level of events.
type teller struct {
	name  string
	level bpf.Monitor
	flows *prog.Flows

	open, known map[string][]float64 // by way: ns of first packets, and of others
	told        [2]uint64            // events of the last round
}

// events compares telling with not telling: of the programs alone, and of the traffic
// of pods with agents that read.
func (b *bench) events(ctx context.Context) error {
	return errors.Join(b.toldPrograms(ctx), b.toldTraffic(ctx))
}

func (b *bench) toldPrograms(ctx context.Context) (err error) {
	set, err := prog.Make(b.prefix, b.dir)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	tellers := []*teller{{name: "no events", level: bpf.MonitorOff}, {name: "no events, again (A/A)", level: bpf.MonitorOff},
		{name: "medium", level: bpf.MonitorMedium}, {name: "low: each packet", level: bpf.MonitorLow}}
	for i, x := range tellers {
		x.open, x.known = map[string][]float64{}, map[string][]float64{}
		x.flows, err = set.MakeTold(filepath.Join(b.dir, fmt.Sprint("told", i)), flowRoom, x.level)
		defer func() { err = errors.Join(err, x.flows.Close()) }()
		if err != nil {
			return err
		}
	}
	packets := uint32(200000)
	if b.quick {
		packets = 20000
	}
	err = set.Inside(func() error {
		for range b.rounds {
			for _, x := range tellers {
				if err := errors.Join(ctx.Err(), x.round(packets)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.report.add(os.Stdout, toldTable("Events: ns of an established packet in from_pod, net of an empty program", tellers, func(x *teller, way string) []float64 { return x.known[way] }))
	b.report.add(os.Stdout, toldTable("Events: ns of a connection's first packet in from_pod, likewise", tellers, func(x *teller, way string) []float64 { return x.open[way] }))
	return nil
}

// round measures each way once.
func (x *teller) round(packets uint32) error {
	for _, w := range x.flows.Ways {
		first, err := x.flows.First(w, packets/4)
		if err != nil {
			return err
		}
		if err := x.flows.Open(w, toldFlows); err != nil {
			return err
		}
		x.told[0] = x.flows.Told()
		known, err := x.flows.Established(w, toldFlows, packets)
		if err != nil {
			return err
		}
		x.told[1] = x.flows.Told()
		x.open[w.Name], x.known[w.Name] = append(x.open[w.Name], first), append(x.known[w.Name], known)
	}
	return nil
}

// toldTable compares each teller with the one that tells nothing.
func toldTable(title string, tellers []*teller, of func(*teller, string) []float64) table {
	t := table{Title: title, Unit: "ns", Columns: []string{"way and level", "ns", "95 % interval", "x no events", "95 % interval", "ns more"},
		Notes: []string{fmt.Sprintf("%s connections, taken by chance, no policy; the rings are emptied between packets, untimed.", thousands(toldFlows))}}
	for _, w := range tellers[0].flows.Ways {
		base := of(tellers[0], w.Name)
		for _, x := range tellers {
			times := of(x, w.Name)
			r, q := stat.Of(times), stat.Paired(times, base)
			t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{w.Name + ", " + x.name, fmt.Sprintf("%.0f", r.Median), fmt.Sprintf("%.0f-%.0f", r.Low, r.High),
				fmt.Sprintf("%.3f", q.Median), interval(q), fmt.Sprintf("%+.1f", r.Median-stat.Median(base))}})
		}
	}
	return t
}

// told says with what a path with events is compared.
var told = []controlled{{path.Told, path.Untold, path.UntoldControl}, {path.ToldFar, path.UntoldFar, path.UntoldFarAgain}}

func (b *bench) toldTraffic(ctx context.Context) (err error) {
	set, err := path.MakeEvents(ctx, b.prefix, filepath.Join(b.dir, "events"), b.bin)
	defer func() { err = errors.Join(err, set.Close()) }()
	if err != nil {
		return err
	}
	return b.cost(ctx, set, "Events: pods whose agents ask for them (medium), of pods whose agents do not", "x no events", ", of none", told)
}
