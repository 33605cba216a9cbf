package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// monitored is what `weir monitor` was asked to show.
type monitored struct {
	types             []string
	from, to, related []string
	verbose           bool
}

func monitorCommand(env *Env) *cobra.Command {
	var m monitored
	c := described(lasting(env, "monitor", "Show what the programs tell, packet by packet, as it comes", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return monitor(ctx, env, m) }),
		"Show what the programs tell, as it comes, until interrupted: drops, new connections, and of\n"+
			"those that go on as much as bpf.monitorAggregation says (docs/events.md).\n\n"+
			"Types are drop, new, going, packet; trace stands for all but drops, policy-verdict for\n"+
			"drop and new. Endpoints are those of this node, by number or NAMESPACE/POD.\n"+
			"With -o json each event is one line. What is lost is said, on stderr.",
		"  weir monitor\n  weir monitor --type drop,new --related-to default/web\n  weir monitor --from 12 -v\n  weir monitor -o json")
	c.Flags().StringSliceVarP(&m.types, "type", "t", nil, "only events of these types")
	c.Flags().StringSliceVar(&m.from, "from", nil, "only from these endpoints")
	c.Flags().StringSliceVar(&m.to, "to", nil, "only to these endpoints")
	c.Flags().StringSliceVar(&m.related, "related-to", nil, "only from or to these endpoints")
	c.Flags().BoolVarP(&m.verbose, "verbose", "v", false, "time, names, program, and the objects whose rules decided, in lines of their own")
	return c
}

func (m monitored) path() string {
	q := url.Values{}
	for key, values := range map[string][]string{"type": m.types, "from": m.from, "to": m.to, "related": m.related} {
		if len(values) > 0 {
			q[key] = values
		}
	}
	if len(q) == 0 {
		return agent.PathMonitor
	}
	return agent.PathMonitor + "?" + q.Encode()
}

// monitor prints until ctx ends. An agent that goes away is said once and waited for.
func monitor(ctx context.Context, env *Env, m monitored) error {
	begun, silent := false, false
	for {
		err := agent.Stream(ctx, env.agent, m.path(), func(line agent.MonitorLine) error {
			begun, silent = true, false
			return m.print(env, line)
		})
		away := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(*agent.Unreachable))
		switch {
		case ctx.Err() != nil:
			return nil
		case !begun || !away:
			return err
		case !silent:
			fmt.Fprintln(env.Stderr, "weir: the agent went away; waiting for it")
		}
		silent = true
		env.pause(ctx, followPause)
	}
}

func (m monitored) print(env *Env, line agent.MonitorLine) error {
	switch {
	case line.Begin != nil:
		b := line.Begin
		fmt.Fprintf(env.Stderr, "Listening for events on %d CPUs with %dx%d of shared memory\nPress Ctrl-C to quit\n", b.CPUs, b.Pages, b.PageSize)
		if b.Level == "drops" {
			fmt.Fprintln(env.Stderr, "weir: only drops are told of: hubble.enabled is false")
		}
	case line.Lost != nil:
		printLoss(env.Stderr, *line.Lost)
	case line.Event != nil && env.output == outputJSON:
		return printLine(env.Stdout, line.Event)
	case line.Event != nil:
		return printEvent(env.Stdout, *line.Event, m.verbose)
	}
	return nil
}

func printLine(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func printLoss(w io.Writer, l agent.MonitorLoss) {
	for _, loss := range []struct {
		n   uint64
		why string
	}{
		{l.Unread, "this command does not read fast enough"},
		{l.Verdicts, "weir_events was full (bpf.eventsSize), or there were more drops than bpf.dropEventsLimit"},
		{l.Traces, "weir_traces was full (bpf.tracesSize)"},
	} {
		if loss.n > 0 {
			fmt.Fprintf(w, "weir: %d events lost: %s\n", loss.n, loss.why)
		}
	}
}

// printEvent writes one line, as Cilium's monitor does, and with verbose what else is
// known below it.
func printEvent(w io.Writer, e agent.Event, verbose bool) error {
	_, err := fmt.Fprintln(w, eventLine(e))
	if err != nil {
		return fmt.Errorf("print: %w", err) // whoever read this is gone
	}
	if !verbose {
		return nil
	}
	var g grid
	g.add("At:", e.Time.UTC().Format(dropTimestamp))
	g.add("Event:", fmt.Sprintf("%s: %s (%s on %s), %d bytes", e.Kind, because(e.Reason, e.Cause), e.Place, e.Device, e.Length))
	if e.SourceName != "" || e.DestName != "" {
		g.add("Between:", orAddress(e.SourceName, e.Source)+" and "+orAddress(e.DestName, e.Dest))
	}
	if e.Asked != "" {
		g.add("Asked:", e.Asked)
	}
	if e.Taken != "" {
		g.add("Leaves as:", e.Taken)
	}
	if len(e.Egress) > 0 {
		g.addList("Egress by:", e.Egress)
	}
	if len(e.Ingress) > 0 {
		g.addList("Ingress by:", e.Ingress)
	}
	g.print(w, "    ")
	return nil
}

func orAddress(name, address string) string {
	if name == "" {
		return address
	}
	return name
}

func eventLine(e agent.Event) string {
	ends := fmt.Sprintf("%s -> %s %s", e.Source, e.Dest, strings.TrimSpace(strings.ToLower(e.Proto)+" "+detail(e)))
	if e.Source == "" {
		ends = e.Proto
	}
	ids := fmt.Sprintf("identity %d->%d", e.SourceID, e.DestID)
	if e.Kind == "drop" {
		return fmt.Sprintf("xx drop (%s) flow %s to endpoint %d, ifindex %s, program %s, %s: %s", because(e.Reason, e.Cause), orNone(e.Flow), e.DestEndpoint, e.Device, e.Place, ids, ends)
	}
	where := e.To
	if where == "endpoint" {
		where = fmt.Sprintf("endpoint %d", e.DestEndpoint)
	}
	orig := ""
	if e.Taken != "" && e.State != "reply" {
		orig = " orig-ip " + address(e.Source)
		ends = strings.Replace(ends, e.Source, e.Taken, 1)
	}
	return fmt.Sprintf("-> %s flow %s , %s state %s ifindex %s%s: %s", where, orNone(e.Flow), ids, e.State, e.Device, orig, ends)
}

// address leaves a port out.
func address(end string) string {
	if a, err := netip.ParseAddrPort(end); err == nil {
		return a.Addr().String()
	}
	return end
}

// detail is what stands behind the protocol: TCP flags, or an ICMP type.
func detail(e agent.Event) string {
	if e.ICMPType != nil {
		return fmt.Sprintf("type %d", *e.ICMPType)
	}
	return strings.ReplaceAll(e.TCPFlags, ",", ", ")
}

func orNone(flow string) string {
	if flow == "" {
		return "0x0"
	}
	return flow
}
