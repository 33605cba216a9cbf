package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	quick  bool
	rounds int
	slice  time.Duration
	adds   int
	storm  int
	pods   int
	settle time.Duration
	bin    string
	out    string
	prefix string
	cpu    int
	only   string
	counts string
	modes  string
}

// bench is one run.
type bench struct {
	options
	dir    string // for files that go away
	report report

	servers map[string]int // pids, by the names of their namespaces
}

// part is one group of measurements, by the name that -only takes.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

// followers are what bench starts itself as, to be measured from outside.
var followers = map[string]func(context.Context, []string) error{kubeChild: kubeFollow, drainChild: drainRead}

func main() {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], childPrefix) {
		if err := child(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && followers[os.Args[1]] != nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := followers[os.Args[1]](ctx, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	runtime.LockOSThread() // children die with the thread that started them: with the first one, which stays
	if err := run(flags(os.Args[1:])); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func flags(args []string) options {
	var o options
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.BoolVar(&o.quick, "quick", false, "a smoke run: few and short rounds, intervals mean little")
	f.IntVar(&o.rounds, "rounds", 15, "paired rounds of the traffic")
	f.DurationVar(&o.slice, "slice", 400*time.Millisecond, "time of one measurement of traffic")
	f.IntVar(&o.adds, "adds", 100, "sequential CNI ADDs of each plugin")
	f.IntVar(&o.storm, "storm", 100, "CNI ADDs of a storm, eight at once")
	f.IntVar(&o.pods, "pods", 100, "pods of the restart")
	f.DurationVar(&o.settle, "settle", 60*time.Second, "time before an agent's memory is read")
	f.StringVar(&o.bin, "bin", "bin", "folder of weir-agent and weir-cni")
	f.StringVar(&o.out, "out", "results", "folder for bench.json and the plots")
	f.StringVar(&o.prefix, "prefix", "bch", "of the names of network namespaces")
	f.IntVar(&o.cpu, "cpu", 1, "CPU that client and server share")
	f.StringVar(&o.only, "only", "", "comma separated: programs, flows, connections, traffic, masquerade, services, nodeport, events, drain, programming, policy, kube, cni, agent")
	f.StringVar(&o.counts, "services", "10,1000,10000", "three numbers of services to compare")
	f.StringVar(&o.modes, "kube-proxy", "iptables,legacy,nftables", "modes to compare with; legacy is iptables by the kernel's old interface")
	_ = f.Parse(args) // exits on errors
	if o.quick {
		o.rounds, o.slice, o.adds, o.storm, o.pods, o.settle = 2, 60*time.Millisecond, 10, 16, 10, time.Second
		o.counts = "10,100,1000"
	}
	return o
}

// run measures everything and writes what it has, even if a part fails.
func run(o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("it needs root: it makes network namespaces and loads BPF programs (try sudo)")
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	for _, name := range []string{"weir-agent", "weir-cni"} {
		if _, err := os.Stat(filepath.Join(o.bin, name)); err != nil {
			return fmt.Errorf("find %s: %w (run make build, or say where it is with -bin)", name, err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{options: o, report: newReport(o)}
	if b.dir, err = os.MkdirTemp("", "weir-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.report.printHead(os.Stdout)
	var errs []error
	for _, p := range []part{{"programs", (*bench).programs}, {"flows", (*bench).flows}, {"connections", (*bench).connections},
		{"traffic", (*bench).traffic}, {"masquerade", (*bench).masquerade}, {"services", (*bench).services}, {"nodeport", (*bench).nodePort}, {"events", (*bench).events}, {"drain", (*bench).drain}, {"programming", (*bench).programming},
		{"policy", (*bench).policy}, {"kube", (*bench).kube}, {"cni", (*bench).cni}, {"agent", (*bench).agent}} {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+p.name+",") {
			continue
		}
		if err := p.run(b, ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	b.report.printGoals(os.Stdout)
	return errors.Join(append(errs, b.report.write(o.out))...)
}
