package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// walked is what `weir trace` was asked for.
type walked struct {
	request agent.WalkRequest
	live    bool
	seconds time.Duration
	svg     string
}

func walkCommand(env *Env) *cobra.Command {
	var o walked
	c := described(lasting(env, "trace POD PEER", "Walk a packet through every hook and map", cobra.ExactArgs(2),
		func(ctx context.Context, env *Env, args []string) error {
			o.request.From, o.request.To = args[0], args[1]
			return walk(ctx, env, o)
		}),
		"Send a probe in POD's place to PEER and print the way of its packets: each program that\n"+
			"sees them, the maps it asks and what they say, what it rewrites, where it sends them, the\n"+
			"time between two steps, and the verdict. With --live nothing is sent: the packets that\n"+
			"others send between the two are followed.\n\n"+
			"POD is pod/NAME, pod/NAMESPACE/NAME or an address of a pod of this node; PEER is the same\n"+
			"of any node, service/NAMESPACE/NAME, host, or any address. Without --port and --proto the\n"+
			"probe is an ICMP echo request.\n\n"+
			"Exit code: 0 every packet was forwarded, 1 one was dropped, or none was seen.",
		"  weir trace pod/net pod/web --port 80\n  weir trace pod/shop/cart service/shop/db\n  weir trace pod/net 192.0.2.7 --proto udp --port 53\n"+
			"  weir trace pod/net pod/web --port 80 --live --for 10s\n  weir trace pod/net pod/web --port 80 --svg walk.svg")
	c.Flags().Uint16Var(&o.request.Port, "port", 0, "port of PEER; of a service with one port it is known")
	c.Flags().StringVar(&o.request.Proto, "proto", "", "TCP, UDP or ICMP (TCP with a port, else ICMP)")
	c.Flags().BoolVar(&o.live, "live", false, "follow the packets of others, and send none")
	c.Flags().DurationVar(&o.seconds, "for", 5*time.Second, "how long to follow them, with --live")
	c.Flags().StringVar(&o.svg, "svg", "", "draw the walk into this file, too")
	return c
}

func walk(ctx context.Context, env *Env, o walked) error {
	if o.live {
		o.request.Live = o.seconds
		if o.seconds <= 0 {
			return usage{fmt.Errorf("--for %s: give how long to follow packets, more than 0s", o.seconds)}
		}
		fmt.Fprintf(env.Stderr, "weir: following packets for %s\n", o.seconds)
	}
	o.request.Proto = strings.ToUpper(o.request.Proto)
	ctx, cancel := context.WithTimeout(ctx, o.request.Live+patience)
	defer cancel()
	var r agent.Walk
	if err := env.agent.Post(ctx, agent.PathWalk, o.request, &r); err != nil {
		return err
	}
	r.Steps = some(r.Steps)
	if o.svg != "" {
		if err := os.WriteFile(o.svg, []byte(drawWalk(r)), 0o644); err != nil {
			return fmt.Errorf("draw the walk: %w", err)
		}
	}
	if err := env.show(r, func(w io.Writer) { printWalk(w, r) }); err != nil {
		return err
	}
	if len(r.Steps) == 0 || dropped(r.Steps) {
		return unhealthy{}
	}
	return nil
}

func dropped(steps []agent.Step) bool {
	for _, s := range steps {
		if s.Verdict == "dropped" {
			return true
		}
	}
	return false
}

func printWalk(w io.Writer, r agent.Walk) {
	if r.Probe != "" {
		fmt.Fprintln(w, oneLine(r.Probe+": "+r.Answer))
	}
	if len(r.Steps) == 0 {
		fmt.Fprintln(w, "No program of this node has seen a packet of it.")
	}
	for i, s := range r.Steps {
		since := time.Duration(0)
		if i > 0 {
			since = s.Time.Sub(r.Steps[i-1].Time)
		}
		printStep(w, i+1, s, since)
	}
	for _, s := range r.Missing {
		fmt.Fprintln(w, "Steps may be missing of", oneLine(s))
	}
	if r.Note != "" {
		fmt.Fprintln(w, oneLine(r.Note))
	}
}

func printStep(w io.Writer, n int, s agent.Step, since time.Duration) {
	arrow := "->"
	if s.Reply {
		arrow = "<-"
	}
	fmt.Fprintf(w, "\n%2d %s %s %s  (%s)  +%s\n", n, arrow, oneLine(s.Node), oneLine(s.Program), oneLine(s.Hook), since.Round(100*time.Nanosecond))
	g := grid{{"Packet:", s.Packet}}
	for _, l := range s.Lookups {
		g.add(l.Map+":", l.Key+"  =  "+l.Found)
	}
	for _, x := range s.Rewrites {
		g.add("Rewrites:", x)
	}
	if s.Verdict == "dropped" {
		g.add("Dropped:", because(s.Reason, s.Cause))
	} else {
		g.add("Sends to:", s.To)
	}
	g.print(w, "     ")
}
