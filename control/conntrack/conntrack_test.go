package conntrack

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weir/datapath"
)

// table is a Table that a test fills.
type table struct {
	size   datapath.ConnectionSize
	sweeps int
	grown  []uint32
	gone   int   // connections that each sweep deletes
	fault  error // of a sweep
}

func (t *table) Size() datapath.ConnectionSize         { return t.size }
func (t *table) MeasureTicks() (datapath.Ticks, error) { return 1000, nil }
func (t *table) Grow(size uint32) error {
	t.grown = append(t.grown, size)
	t.size.Capacity = size
	return nil
}
func (t *table) Sweep(datapath.Timeouts, datapath.Ticks) (datapath.Swept, error) {
	t.sweeps++
	return datapath.Swept{Entries: int(t.size.Entries), Deleted: t.gone}, t.fault
}

func control(t *table) (*Control, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return New(slog.New(slog.NewTextHandler(log, nil)), t, datapath.DefaultTimeouts(), nil), log
}

func TestATableGrowsBeforeItIsFullAndNotBeyondItsLimit(t *testing.T) {
	tab := &table{size: datapath.ConnectionSize{Entries: 500, Capacity: 1000, Limit: 3000}}
	c, _ := control(tab)
	for _, step := range []struct{ entries, capacity uint32 }{{500, 1000}, {501, 2000}, {1001, 3000}, {2900, 3000}} {
		tab.size.Entries = step.entries
		if err := c.Step(); err != nil {
			t.Fatal(err)
		}
		if tab.size.Capacity != step.capacity {
			t.Errorf("with %d connections the capacity is %d, want %d", step.entries, tab.size.Capacity, step.capacity)
		}
	}
}

func TestPressureIsSaidOnceAndTakenBackOnce(t *testing.T) {
	tab := &table{size: datapath.ConnectionSize{Capacity: 1000, Limit: 1000}}
	c, log := control(tab)
	for _, entries := range []uint32{799, 800, 900, 790, 100} {
		tab.size.Entries = entries
		if err := c.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "nearly full"); n != 1 {
		t.Errorf("warned %d times, want 1:\n%s", n, log)
	}
	if n := strings.Count(log.String(), "room again"); n != 1 {
		t.Errorf("took it back %d times, want 1:\n%s", n, log)
	}
}

func TestAFillingTableIsSweptMoreOften(t *testing.T) {
	tab := &table{size: datapath.ConnectionSize{Entries: 10, Capacity: 1000, Limit: 1000}}
	c, _ := control(tab)
	now := time.Unix(1000, 0)
	if c.due(now) != 0 {
		t.Fatal("the first sweep waits")
	}
	if wait := c.due(now.Add(time.Second)); wait != sweepEvery-time.Second {
		t.Errorf("a nearly empty table waits %s, want %s", wait, sweepEvery-time.Second)
	}
	tab.size.Entries = 300
	if wait := c.due(now.Add(sweepSoon)); wait != 0 {
		t.Errorf("a filling table waits %s", wait)
	}
}

func TestSweepsAreSummedUp(t *testing.T) {
	tab := &table{size: datapath.ConnectionSize{Entries: 5, Capacity: 1000, Limit: 1000}, gone: 3}
	c, _ := control(tab)
	if s := c.Stats(); s != (Stats{}) {
		t.Errorf("before the first: %+v", s)
	}
	for range 2 {
		if err := c.Step(); err != nil {
			t.Fatal(err)
		}
	}
	tab.fault = errors.New("no such program")
	if err := c.Step(); err == nil {
		t.Error("a sweep that failed is none")
	}
	s := c.Stats()
	if s.Sweeps != 2 || s.Failed != 1 || s.Deleted != 9 || s.Took <= 0 || s.Ticks != 1000 {
		t.Errorf("%+v, want 2 sweeps, one that failed, 9 deleted", s)
	}
}
