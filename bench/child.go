package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/bench/path"
	"weir/bench/traffic"
)

// childPrefix marks the arguments with which bench starts itself: a server or
// a client is a process, as in life, in a session of its own.
const childPrefix = "traffic-"

// child is the other side of serve and measure.
func child(args []string) error {
	if len(args) < 3 {
		return errors.New("traffic: too few arguments")
	}
	cpu, err := strconv.Atoi(args[2])
	if err != nil {
		return fmt.Errorf("read CPU: %w", err)
	}
	if args[0] == childPrefix+"serve" {
		return traffic.Serve(args[1], cpu, os.Stdout)
	}
	if len(args) != 7 {
		return errors.New("traffic: want run NETNS CPU KIND SERVERS TIME CGROUP")
	}
	var servers []netip.AddrPort
	for s := range strings.SplitSeq(args[4], ",") {
		at, err := netip.ParseAddrPort(s)
		if err != nil {
			return fmt.Errorf("read server: %w", err)
		}
		servers = append(servers, at)
	}
	d, err := time.ParseDuration(args[5])
	if err != nil {
		return fmt.Errorf("read time: %w", err)
	}
	if args[6] != "" {
		if err := os.WriteFile(filepath.Join(args[6], "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("enter control group: %w", err)
		}
	}
	res, err := traffic.Run(args[1], cpu, traffic.Kind(args[3]), servers, d)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(res)
}

func self(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), traffic.Env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// serve starts the server of a path and waits until it listens.
func (b *bench) serve(ctx context.Context, p path.Path) (stop func(), err error) {
	cmd := self(ctx, childPrefix+"serve", p.Server.Path(), strconv.Itoa(b.cpu))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server of %s: %w", p.Name, err)
	}
	stop = func() {
		_ = cmd.Process.Kill() // one that has ended is what we want
		_ = cmd.Wait()
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		return nil, fmt.Errorf("server of %s: %w", p.Name, err)
	}
	b.servers[p.Server.Name] = cmd.Process.Pid
	return stop, nil
}

// measure runs one client.
func (b *bench) measure(ctx context.Context, p path.Path, kind traffic.Kind) (traffic.Result, error) {
	var res traffic.Result
	ctx, cancel := context.WithTimeout(ctx, b.slice*3+5*time.Second)
	defer cancel()
	before := cpuOf(b.servers[p.Server.Name])
	out, err := self(ctx, childPrefix+"run", p.Client.Path(), strconv.Itoa(b.cpu), string(kind), p.Targets(), b.slice.String(), p.Cgroup).Output()
	if err != nil {
		return res, fmt.Errorf("%s over %s: %w", kind, p.Name, err)
	}
	if err := json.Unmarshal(out, &res); err != nil {
		return res, err
	}
	if res.All > 0 {
		res.CPU += (cpuOf(b.servers[p.Server.Name]) - before).Seconds() * 1e6 / float64(res.All)
	}
	return res, nil
}

// cpuOf is what all threads of a process have used so far.
func cpuOf(pid int) (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is right
	for _, file := range files {
		data, _ := os.ReadFile(file) // a thread that has ended is left out
		var ns int64
		if _, err := fmt.Sscan(string(data), &ns); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}

// serveAll starts the servers of all paths, one in each namespace. Stop them in any
// case.
func (b *bench) serveAll(ctx context.Context, paths []path.Path) (stop func(), err error) {
	var stops []func()
	b.servers = map[string]int{}
	for _, p := range paths {
		if b.servers[p.Server.Name] > 0 {
			continue
		}
		end, err := b.serve(ctx, p)
		if err != nil {
			return func() { each(stops) }, err
		}
		stops = append(stops, end)
	}
	return func() { each(stops) }, nil
}

func each(list []func()) {
	for _, f := range list {
		f()
	}
}
