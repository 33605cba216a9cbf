package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

const (
	dropsShown    = 20
	followPause   = 500 * time.Millisecond
	dropTimestamp = "2006-01-02T15:04:05.000Z07:00"
)

// watch is what `weir drops` was asked to show.
type watch struct {
	follow bool
	last   int
	pod    string
}

func dropsCommand(env *Env) *cobra.Command {
	var s watch
	c := described(lasting(env, "drops", "Show the last packets that were not let through, and which policy decided", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return drops(ctx, env, s) }),
		"Show the last packets that were not let through: when, where, why, both ends with name and\n"+
			"identity; of those that a policy denied also the objects that decided, the rule that came\n"+
			"nearest, and the field on which it failed.\n\n"+
			"The agent keeps the latest of this node only; weir metrics list --drops counts all of them.\n"+
			"With -o json --follow each drop is one line.",
		"  weir drops\n  weir drops --follow\n  weir drops --last 100 --pod default/web -o json")
	c.Flags().BoolVarP(&s.follow, "follow", "f", false, "go on with those that come, until interrupted")
	c.Flags().IntVar(&s.last, "last", dropsShown, "how many of the latest to show; with --follow 0 shows only new ones")
	c.Flags().StringVar(&s.pod, "pod", "", "only those from or to NAMESPACE/POD")
	return c
}

func drops(ctx context.Context, env *Env, s watch) error {
	if s.last < 0 || s.last == 0 && !s.follow {
		return usage{fmt.Errorf("--last %d: give how many drops to show, 1 or more", s.last)}
	}
	if s.pod != "" && !podPattern.MatchString(s.pod) {
		return usage{fmt.Errorf("--pod: %q is not a pod: write NAMESPACE/POD", s.pod)}
	}
	all, err := readDrops(ctx, env)
	if err != nil {
		return err
	}
	rows := s.sift(all)
	rows = rows[max(0, len(rows)-s.last):]
	if s.follow {
		return follow(ctx, env, s, rows, lastSeq(all))
	}
	return env.show(rows, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(w, "None that the agent remembers. weir metrics list --drops counts all since the maps were made.")
		}
		for _, d := range rows {
			printDrop(w, d)
		}
	})
}

func readDrops(ctx context.Context, env *Env) ([]agent.Drop, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := list[agent.Drop](ctx, env, agent.PathDrops)
	for i := range all {
		all[i].Policies = some(all[i].Policies)
	}
	return all, err
}

func (s watch) sift(all []agent.Drop) []agent.Drop {
	return slices.DeleteFunc(slices.Clone(all), func(d agent.Drop) bool {
		return s.pod != "" && d.SourceName != s.pod && d.DestName != s.pod
	})
}

func lastSeq(all []agent.Drop) uint64 {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Seq
}

// follow prints rows, and then what comes after the drop numbered seen. An agent
// that goes away is said once and waited for; a new one counts from 1 again.
func follow(ctx context.Context, env *Env, s watch, rows []agent.Drop, seen uint64) error {
	silent := false
	for {
		for _, d := range rows {
			if err := printOne(env, d); err != nil {
				return err
			}
		}
		env.pause(ctx, followPause)
		all, err := readDrops(ctx, env)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !silent:
			fmt.Fprintf(env.Stderr, "weir: %v; waiting for it\n", err)
		}
		silent = err != nil
		if err != nil {
			rows = nil
			continue
		}
		if lastSeq(all) < seen {
			seen = 0
		}
		if n := missing(all, seen); seen > 0 && n > 0 {
			fmt.Fprintf(env.Stderr, "weir: %d drops came faster than they could be read\n", n)
		}
		rows = s.sift(slices.DeleteFunc(all, func(d agent.Drop) bool { return d.Seq <= seen }))
		seen = max(seen, lastSeq(all))
	}
}

// missing counts the drops after the one numbered seen that are not there.
func missing(all []agent.Drop, seen uint64) uint64 {
	there := uint64(0)
	for _, d := range all {
		if d.Seq > seen {
			there++
		}
	}
	return max(lastSeq(all), seen) - seen - there
}

func printOne(env *Env, d agent.Drop) error {
	if env.output != outputJSON {
		printDrop(env.Stdout, d)
		return nil
	}
	return printLine(env.Stdout, d)
}

// printDrop writes one line, and below it what policy has to say, if anything.
func printDrop(w io.Writer, d agent.Drop) {
	what := d.Proto
	if d.TCPFlags != "" {
		what += " " + d.TCPFlags
	}
	fmt.Fprintln(w, oneLine(strings.Join([]string{d.Time.UTC().Format(dropTimestamp), because(d.Reason, d.Cause), what,
		dropEnd(d.SourceName, d.Source, d.SourceID) + " -> " + dropEnd(d.DestName, d.Dest, d.DestID) + dropAsked(d.Asked),
		fmt.Sprintf("%s on %s, %d bytes", d.Place, d.Device, d.Length)}, gap)))
	var g grid
	if len(d.Policies) > 0 {
		g.addList("Policy ("+d.Direction+"):", d.Policies)
	}
	if d.Nearest != "" {
		g.add("Nearest rule:", d.Nearest)
	}
	if d.Missed != "" {
		g.add("Failed on:", d.Missed)
	}
	g.print(w, "    ")
}

// because is a reason, and what it alone does not say.
func because(reason, cause string) string {
	if cause == "" {
		return reason
	}
	return reason + ", " + cause
}

func dropAsked(service string) string {
	if service == "" {
		return ""
	}
	return ", asked as " + service
}

// dropEnd leaves out what was not parsed.
func dropEnd(name, address string, id uint32) string {
	out := strings.TrimSpace(name + " " + address)
	if name == address {
		out = name
	}
	if out == "" {
		out = "?"
	}
	return fmt.Sprintf("%s (ID:%d)", out, id)
}
