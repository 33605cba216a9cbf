package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/bench/services"
	"weir/bench/stat"
	"weir/control/service"
	"weir/datapath"
	"weir/source/convert"
	"weir/state"
	"weir/test/kubeproxy"
)

// programming times what the agent does for services, from objects to the kernel's
// maps, in this process: all of a large cluster at once, and one endpoint more or
// less in it.
func (b *bench) programming(ctx context.Context) error {
	count := 10000
	repeat, changes := 5, 1000
	if b.quick {
		count, repeat, changes = 1000, 2, 50
	}
	objects := services.Objects(count, netip.MustParseAddr("10.0.0.9"), "n1")
	var all, cpu, one []float64
	for i := range repeat {
		began := cpuTime()
		took, each, err := b.program(ctx, i, objects, count, changes/repeat, func() { cpu = append(cpu, ms(cpuTime()-began)) })
		if err != nil {
			return err
		}
		all, one = append(all, took), append(one, each...)
	}
	t := table{Title: "Services: from objects to the kernel's maps", Unit: "ms", Columns: []string{"what", "p50 ms", "95 % interval", "p99", "longest"},
		Notes: []string{"Objects are decoded already. A change is one endpoint that comes or goes: its slice becomes a row, all that follows is derived and written."}}
	for _, x := range []struct {
		what   string
		values []float64
	}{{fmt.Sprintf("%s services of %d endpoints", thousands(uint32(count)), services.Backends), all}, {"the same, CPU time of the process", cpu}, {"one endpoint of them", one}} {
		r := stat.Of(x.values)
		t.Rows = append(t.Rows, row{Bar: &r, Cells: []string{x.what, number(r.Median), fmt.Sprintf("%.3g-%.3g", r.Low, r.High), number(stat.Percentile(x.values, 99)), number(stat.Percentile(x.values, 100))}})
	}
	b.report.add(os.Stdout, t)
	for _, want := range []float64{2000, 600} {
		b.report.goal(fmt.Sprintf("%s services from objects to maps", thousands(uint32(count))), fmt.Sprintf("<= %.0f ms", want), number(stat.Median(all))+" ms", stat.Median(all) <= want)
	}
	p99 := stat.Percentile(one, 99)
	for _, want := range []float64{20, 2} {
		b.report.goal(fmt.Sprintf("one endpoint of %s services to maps, p99 of %d", thousands(uint32(count)), len(one)), fmt.Sprintf("<= %.0f ms", want), number(p99)+" ms", p99 <= want)
	}
	return nil
}

// program fills empty maps, says so, and then changes one endpoint again and again.
func (b *bench) program(ctx context.Context, round int, objects []kubeproxy.Object, count, changes int, filled func()) (all float64, one []float64, err error) {
	root := filepath.Join(b.dir, fmt.Sprintf("maps%d", round))
	if err := os.MkdirAll(root, 0o700); err != nil {
		return 0, nil, err
	}
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }() // where it was mounted
	dp, err := datapath.Open(slog.New(slog.DiscardHandler), datapath.Options{Root: root})
	if err != nil {
		return 0, nil, fmt.Errorf("open maps: %w", err)
	}
	defer dp.Close()
	tables := state.New()
	tables.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}})
	c := service.New(slog.New(slog.DiscardHandler), service.Options{IPv4: true, IPv6: true}, tables, dp.Services)
	began := time.Now()
	if err := putAll(tables, objects); err != nil {
		return 0, nil, err
	}
	if err := c.Step(ctx); err != nil {
		return 0, nil, err
	}
	all = ms(time.Since(began))
	filled()
	if n := len(dp.Services.Services.Held()); n < count {
		return 0, nil, fmt.Errorf("%d of %d services are in the map", n, count)
	}
	for i := range changes {
		o := services.Slice(services.Measured+i*7%(count-services.Measured), services.Backends-1)
		began := time.Now()
		row, err := convert.EndpointSlice(o)
		if err != nil {
			return 0, nil, err
		}
		tables.Slices.Put(row)
		if err := c.Step(ctx); err != nil {
			return 0, nil, err
		}
		one = append(one, ms(time.Since(began)))
	}
	short := 0
	for _, s := range dp.Services.Services.Held() {
		if s.Inside.Count == services.Backends-1 {
			short++
		}
	}
	if short != changes {
		return 0, nil, fmt.Errorf("%d services have an endpoint less after %d changes", short, changes)
	}
	return all, one, nil
}

// cpuTime is what this process has used: on a machine that is shared it says more
// than the clock.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// putAll makes rows of objects, as a source does.
func putAll(tables *state.Tables, objects []kubeproxy.Object) error {
	var rows []state.Service
	var slices []state.Slice
	var errs []error
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Service:
			row, err := convert.Service(o)
			rows, errs = append(rows, row), append(errs, err)
		case *discoveryv1.EndpointSlice:
			row, err := convert.EndpointSlice(o)
			slices, errs = append(slices, row), append(errs, err)
		}
	}
	tables.Services.Put(rows...)
	tables.Slices.Put(slices...)
	return errors.Join(errs...)
}
