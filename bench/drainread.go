package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"weir/agent/config"
	"weir/bench/prog"
	"weir/datapath"
	"weir/observe"
	"weir/state"
)

// drainChild is the argument with which bench starts itself as the part of an agent that
// reads events and keeps flows.
const drainChild = "drain-read"

// kept is what it says of itself.
type kept struct {
	Flows    uint64 `json:"flows"`    // ever
	Verdicts uint64 `json:"verdicts"` // that are counted as lost, ever
	Traces   uint64 `json:"traces"`
	Heap     uint64 `json:"heap"` // octets that are alive
}

// drainRead reads on one CPU, and says what it has for each line that it gets.
func drainRead(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want " + drainChild + " FOLDER CONNECTIONS CPU")
	}
	connections, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return fmt.Errorf("read connections: %w", err)
	}
	cpu, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("read CPU: %w", err)
	}
	runtime.GOMAXPROCS(1)
	if err := pinAll(cpu); err != nil {
		return err
	}
	d, err := prog.OpenTold(args[0], uint32(connections))
	if err != nil {
		return err
	}
	defer d.Close()
	o := observe.New(observe.Options{Cluster: "bench", Node: "bench", Version: "bench", Bytes: 16 << 20, Count: config.FlowMetrics()}, prog.Names(), named{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- o.Run(ctx) }()
	go func() { ended <- d.ReadEvents(ctx, datapath.Reader{Event: o.Add, Answer: o.Hear}) }()
	asked := make(chan struct{})
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			asked <- struct{}{}
		}
	}()
	out := json.NewEncoder(os.Stdout)
	for {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		case <-asked:
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			k := kept{Flows: o.Status().SeenFlows, Heap: m.HeapAlloc}
			if k.Verdicts, k.Traces, err = d.EventsLost(); err != nil {
				return err
			}
			if err := out.Encode(k); err != nil {
				return err
			}
		}
	}
}

// named are policies that are known: what they are is asked once for each rule.
type named struct{}

// Version implements observe.Rules.
func (named) Version() uint64 { return 1 }

// Rule implements observe.Rules.
func (named) Rule(uint32) observe.Rule { return observe.Rule{Policies: policyOfBench} }

// Isolated implements observe.Rules.
func (named) Isolated(uint32, bool) []state.PolicyKey { return policyOfBench }

var policyOfBench = []state.PolicyKey{{Kind: state.KindNetworkPolicy, Namespace: "default", Name: "rules-0"}}

// pinAll leaves this process one CPU.
func pinAll(cpu int) error {
	var one unix.CPUSet
	one.Set(cpu)
	threads, _ := filepath.Glob("/proc/self/task/*") // the pattern is right
	for _, t := range threads {
		tid, err := strconv.Atoi(filepath.Base(t))
		if err == nil {
			err = unix.SchedSetaffinity(tid, &one)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
			return fmt.Errorf("pin thread %s to CPU %d: %w", t, cpu, err)
		}
	}
	return nil
}

// pinThread locks the goroutine to a thread that has this CPU, until undo is called.
func pinThread(cpu int) (undo func(), err error) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	one.Set(cpu)
	if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &one)); err != nil {
		runtime.UnlockOSThread()
		return func() {}, fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return func() {
		_ = unix.SchedSetaffinity(0, &before) // what it was can be had again
		runtime.UnlockOSThread()
	}, nil
}

// settleTime is how long a reader may take to have read all.
const settleTime = 5 * time.Second
