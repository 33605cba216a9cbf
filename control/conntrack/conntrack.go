// Package conntrack keeps the connection table in order: it sweeps out what is
// idle, makes the table larger before it is full, and says when it nears its
// limit.
//
// It decides nothing about packets, and deletes nothing itself: the program
// expire does, on the entry as it is (bpf/expire.c).
package conntrack

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"weir/datapath"
	"weir/internal/reconcile"
)

// Table is the connection table; datapath.Connections is one.
type Table interface {
	Size() datapath.ConnectionSize
	Sweep(datapath.Timeouts, datapath.Ticks) (datapath.Swept, error)
	Grow(size uint32) error
	MeasureTicks() (datapath.Ticks, error)
}

const (
	// sweepEvery is the time between sweeps; a fast filling table is looked at
	// more often.
	sweepEvery = 5 * time.Second
	sweepSoon  = time.Second
	// few connections are swept again soon when some of them are idle: it costs
	// nothing to speak of, and they go the sooner.
	few = 1 << 16
	// growAt and warnAt are parts of the capacity and of the limit.
	growAt = 0.5
	warnAt = 0.8
)

// Control keeps one table.
type Control struct {
	log      *slog.Logger
	table    Table
	timeouts datapath.Timeouts
	ready    reconcile.Input // programs are loaded

	ticks  datapath.Ticks
	warned bool
	last   time.Time // of a sweep
	idle   int       // that it has found

	mu    sync.Mutex
	stats Stats // guarded by mu
}

// Stats sums up the sweeps.
type Stats struct {
	Sweeps, Failed uint64
	Deleted        uint64
	Took           time.Duration  // those that did not fail
	Ticks          datapath.Ticks // of the clock that connections are timed by; 0: not measured yet
}

// Stats returns what was done since the start.
func (c *Control) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

func (c *Control) count(swept datapath.Swept, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Deleted += uint64(swept.Deleted)
	if err != nil {
		c.stats.Failed++
		return
	}
	c.stats.Sweeps++
	c.stats.Took += took
}

// New returns a Control that starts when ready is synced.
func New(log *slog.Logger, table Table, t datapath.Timeouts, ready reconcile.Input) *Control {
	return &Control{log: log, table: table, timeouts: t, ready: ready}
}

// Run sweeps until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	return reconcile.Loop(ctx, c.log, c.sweep, c.ready, reconcile.Every(ctx, sweepSoon))
}

// sweep is Step when it is time.
func (c *Control) sweep(context.Context) error {
	if wait := c.due(time.Now()); wait > 0 {
		return nil
	}
	return c.Step()
}

// due is how long the next sweep may wait.
func (c *Control) due(now time.Time) time.Duration {
	every := sweepEvery
	if s := c.table.Size(); float64(s.Entries) > growAt/2*float64(s.Capacity) || c.idle > 0 && s.Entries < few {
		every = sweepSoon
	}
	if wait := every - now.Sub(c.last); wait > 0 {
		return wait
	}
	c.last = now
	return 0
}

// Step sweeps once, grows the table when it is half full, and warns when it
// cannot grow any more.
func (c *Control) Step() error {
	if c.ticks == 0 {
		ticks, err := c.table.MeasureTicks()
		if err != nil {
			return err
		}
		c.ticks = ticks
		c.mu.Lock()
		c.stats.Ticks = ticks
		c.mu.Unlock()
	}
	began := time.Now()
	swept, err := c.table.Sweep(c.timeouts, c.ticks)
	c.count(swept, time.Since(began), err)
	if err != nil {
		return err
	}
	c.idle = swept.Idle
	if swept.Deleted > 0 {
		c.log.Debug("connections swept", "deleted", swept.Deleted, "left", swept.Entries)
	}
	size := c.table.Size()
	if float64(size.Entries) > growAt*float64(size.Capacity) && size.Capacity < size.Limit {
		if err := c.table.Grow(min(2*size.Capacity, size.Limit)); err != nil {
			return fmt.Errorf("grow the connection table: %w", err)
		}
		size = c.table.Size()
	}
	c.warn(size)
	return nil
}

// warn says once that the table nears its limit, and once that it no longer does.
func (c *Control) warn(s datapath.ConnectionSize) {
	near := s.Pressure() >= warnAt
	if near && !c.warned {
		c.log.Warn("connection table is nearly full: when it is, new connections are dropped; raise bpf.ctLimit", "connections", s.Entries, "limit", s.Limit)
	}
	if !near && c.warned {
		c.log.Info("connection table has room again", "connections", s.Entries, "limit", s.Limit)
	}
	c.warned = near
}
