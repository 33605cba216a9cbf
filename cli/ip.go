package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func ipCommand(env *Env) *cobra.Command {
	numeric := false
	all := verb(env, "list", "List the ipcache: who has which address, and where", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return ipList(ctx, env, numeric) })
	one := verb(env, "get IP|CIDR", "Show the row that decides about an address", cobra.ExactArgs(1),
		func(ctx context.Context, env *Env, args []string) error { return ipGet(ctx, env, args[0], numeric) })
	for _, c := range []*cobra.Command{all, one} {
		c.Flags().BoolVarP(&numeric, "numeric", "n", false, "print identities as numbers")
	}
	return noun("ip", "Addresses and their identities", all, one)
}

func ipList(ctx context.Context, env *Env, numeric bool) error {
	rows, err := list[agent.IP](ctx, env, agent.PathIPs)
	if err != nil {
		return err
	}
	return env.show(rows, func(w io.Writer) { ipGrid(rows, numeric).print(w, "") })
}

func ipGet(ctx context.Context, env *Env, what string, numeric bool) error {
	prefix, err := parsePrefix(what)
	if err != nil {
		return usage{err}
	}
	rows, err := list[agent.IP](ctx, env, agent.PathIPs)
	if err != nil {
		return err
	}
	row, ok := longest(rows, prefix)
	if !ok {
		return fmt.Errorf("no row of the ipcache covers %s", what)
	}
	return env.show(row, func(w io.Writer) { ipGrid([]agent.IP{row}, numeric).print(w, "") })
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address (10.0.1.7) nor a CIDR (10.0.1.0/24)", s)
	}
	return p.Masked(), nil
}

// longest returns the row with the longest prefix that covers all of what: the
// one that the map's lookup finds.
func longest(rows []agent.IP, what netip.Prefix) (found agent.IP, ok bool) {
	bits := -1
	for _, r := range rows {
		p, err := netip.ParsePrefix(r.Prefix)
		if err != nil || p.Bits() <= bits || p.Bits() > what.Bits() || !p.Contains(what.Addr()) {
			continue
		}
		found, bits = r, p.Bits()
	}
	return found, bits >= 0
}

// ipGrid gives every label of an identity a line of its own.
func ipGrid(rows []agent.IP, numeric bool) grid {
	g := grid{{"IP", "IDENTITY", "SOURCE", "TUNNEL ENDPOINT", "ENDPOINT", "POD OR NODE"}}
	for _, r := range rows {
		labels := r.Labels
		if numeric || len(labels) == 0 {
			labels = []string{number(r.Identity)}
		}
		endpoint := ""
		if r.Endpoint != 0 {
			endpoint = number(r.Endpoint)
		}
		g.add(r.Prefix, labels[0], r.Source, r.TunnelEndpoint, endpoint, r.Of)
		for _, label := range labels[1:] {
			g.add("", label)
		}
	}
	return g
}
