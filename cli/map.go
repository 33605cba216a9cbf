package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// mapPrefix is what all our maps begin with; `weir map get` does without.
const mapPrefix = "weir_"

func mapCommand(env *Env) *cobra.Command {
	verbose := false
	all := verb(env, "list", "List the BPF maps", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return mapList(ctx, env, verbose) })
	all.Flags().BoolVar(&verbose, "verbose", false, "add type, sizes, memory and pin")
	return noun("map", "BPF maps", all,
		verb(env, "get NAME", "Show what the kernel holds, beside what it should hold", cobra.ExactArgs(1), mapGet))
}

func mapList(ctx context.Context, env *Env, verbose bool) error {
	maps, err := list[agent.Map](ctx, env, agent.PathMaps)
	if err != nil {
		return err
	}
	return env.show(maps, func(w io.Writer) { mapGrid(maps, verbose).print(w, "") })
}

func mapGrid(maps []agent.Map, verbose bool) grid {
	head := []string{"Name", "Num entries", "Num errors", "Cache enabled"}
	if verbose {
		head = append(head, "Type", "ID", "Key size", "Value size", "Max entries", "Memory", "Pin")
	}
	g := grid{head}
	for _, m := range maps {
		entries := strconv.Itoa(m.Entries)
		if m.Entries < 0 {
			entries = "unknown"
		}
		row := []string{m.Name, entries, strconv.Itoa(m.Errors), strconv.FormatBool(m.Mirrored)}
		if verbose {
			row = append(row, m.Type, number(m.ID), number(m.KeySize), number(m.ValueSize), number(m.MaxEntries), size(m.Memory), m.Pin)
		}
		g.add(row...)
	}
	return g
}

func mapGet(ctx context.Context, env *Env, args []string) error {
	maps, err := list[agent.Map](ctx, env, agent.PathMaps)
	if err != nil {
		return err
	}
	known := make([]string, 0, len(maps))
	for _, m := range maps {
		known = append(known, m.Name)
	}
	name, err := pick("map", args[0], mapPrefix, known)
	if err != nil {
		return err
	}
	dump := agent.MapDump{}
	if err := env.agent.Get(ctx, agent.PathMaps+"/"+name, &dump); err != nil {
		return err
	}
	if dump.Rows == nil {
		dump.Rows = []agent.MapRow{}
	}
	return env.show(dump, func(w io.Writer) {
		g := grid{{"Key", "Value", "State", "Error"}}
		for _, r := range dump.Rows {
			g.add(r.Key, r.Value, r.State, r.Error)
		}
		g.print(w, "")
	})
}

// pick returns the known name that is meant, which may lack the prefix.
func pick(what, name, prefix string, known []string) (string, error) {
	for _, k := range known {
		if k == name || k == prefix+name {
			return k, nil
		}
	}
	return "", fmt.Errorf("no %s %q; there are %s", what, name, strings.Join(known, ", "))
}

// size writes bytes with three digits.
func size(bytes uint64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.3g GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.3g MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.3g KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}
