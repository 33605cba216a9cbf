package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func configCommand(env *Env) *cobra.Command {
	c := verb(env, "config", "Show the configuration in force, of the agent and of its programs", cobra.NoArgs, config)
	c.AddCommand(explainConfigCommand(env))
	return c
}

func explainConfigCommand(env *Env) *cobra.Command {
	file := ""
	c := described(verb(env, "explain [KEY]", "Say what a key means, its value and where that is from", cobra.MaximumNArgs(1),
		func(ctx context.Context, env *Env, args []string) error { return explainConfig(ctx, env, file, args) }),
		"Say what a key means, its value, its default and who set it. KEY may be a group (bpf), or a\n"+
			"name of Cilium's chart (tunnel); without one all keys are told. With --config it is the file\n"+
			"that is explained, and what is wrong with it: no agent has to run, or to start with it.",
		"  weir config explain routingMode\n  weir config explain loadBalancer\n  weir config explain --config /etc/weir/weir.yaml mtu")
	c.Flags().StringVar(&file, "config", "", "explain this weir.yaml; default: what the agent of this node runs with")
	return c
}

func explainConfig(ctx context.Context, env *Env, file string, args []string) error {
	if file != "" {
		keys, err := env.ExplainFile(file, strings.Join(args, ""))
		if len(keys) == 0 && err != nil {
			return err
		}
		return cmp.Or(showKeys(env, keys), err)
	}
	path := agent.PathKeys
	if len(args) > 0 {
		path += "?key=" + url.QueryEscape(args[0])
	}
	keys, err := list[agent.ConfigKey](ctx, env, path)
	if err != nil {
		return err
	}
	return showKeys(env, keys)
}

func showKeys(env *Env, keys []agent.ConfigKey) error {
	return env.show(keys, func(w io.Writer) {
		for i, k := range keys {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintln(w, k.Key)
			keyGrid(k).print(w, "  ")
		}
	})
}

func keyGrid(k agent.ConfigKey) grid {
	g := grid{{"Means:", k.Means}, {"Value:", empty(k.Value)}, {"Set by:", cmp.Or(k.From, "default")}}
	if k.Value != k.Unset {
		g.add("Default:", empty(k.Unset))
	}
	if len(k.Other) > 0 {
		g.add("Also:", strings.Join(k.Other, ", ")+" (taken with a warning)")
	}
	return g
}

// empty shows a value that is none.
func empty(value string) string {
	if value == "" {
		return "(empty)"
	}
	return value
}

func config(ctx context.Context, env *Env, _ []string) error {
	var c agent.Config
	if err := env.agent.Get(ctx, agent.PathConfig, &c); err != nil {
		return err
	}
	return env.show(c, func(w io.Writer) {
		file := c.File
		if file == "" {
			file = "no file"
		}
		fmt.Fprintf(w, "Agent (%s)\n", file)
		optionGrid(c.Agent, "KEY", "VALUE", "SET BY").print(w, "  ")
		fmt.Fprintln(w, "Datapath (constants of the loaded programs)")
		optionGrid(c.Datapath, "KEY", "VALUE").print(w, "  ")
	})
}

// optionGrid says who set a value where the heading has a column for it.
func optionGrid(options []agent.Option, head ...string) grid {
	g := grid{head}
	for _, o := range options {
		g.add([]string{o.Key, o.Value, cmp.Or(o.From, "default")}[:len(head)]...)
	}
	return g
}
