package cli

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

// sieve is what `weir ct list` was asked to show.
type sieve struct {
	pod, ip, proto, port string
}

func connectionsCommand(env *Env) *cobra.Command {
	var s sieve
	c := described(verb(env, "list", "List the connections of this node's pods", cobra.NoArgs,
		func(ctx context.Context, env *Env, _ []string) error { return connections(ctx, env, s) }),
		"List the connections of this node's pods, one line each: who opened it -> the other end.\n\n"+
			"The first line says how full the table is. SENT is what the opener sent, ANSWERED what\n"+
			"came back. RULES are those that allowed it, by the numbers of weir policy get; \"-\" where\n"+
			"none was needed. WAY OUT is where packets of the opener go / where answers go. A stale\n"+
			"connection is judged anew by its next packet.",
		"  weir ct list\n  weir ct list --pod default/web --proto tcp\n  weir ct list --ip 10.0.1.0/24 --port 53")
	c.Flags().StringVar(&s.pod, "pod", "", "only those of NAMESPACE/POD")
	c.Flags().StringVar(&s.ip, "ip", "", "only those with this address, or one of this CIDR, at either end")
	c.Flags().StringVar(&s.port, "port", "", "only those with this port at either end")
	c.Flags().StringVar(&s.proto, "proto", "", "only those of this protocol: tcp, udp, sctp, icmp, icmpv6, ...")
	return noun("ct", "Connections", c)
}

func connections(ctx context.Context, env *Env, s sieve) error {
	keep, err := s.filter(ctx, env)
	if err != nil {
		return err
	}
	var all agent.Connections
	if err := env.agent.Get(ctx, agent.PathConnections, &all); err != nil {
		return err
	}
	all.Entries = some(slices.DeleteFunc(all.Entries, func(c agent.Connection) bool { return !keep(c) }))
	return env.show(all, func(w io.Writer) {
		fmt.Fprintf(w, "Connections: %d/%d (limit %d, %s), %s", all.Count, all.Capacity, all.Limit, percent(all.Pressure), size(all.Memory))
		if s != (sieve{}) {
			fmt.Fprintf(w, ", %d shown", len(all.Entries))
		}
		fmt.Fprintln(w)
		connectionGrid(all.Entries).print(w, "")
	})
}

// filter returns what keeps a connection. All conditions have to hold.
func (s sieve) filter(ctx context.Context, env *Env) (func(agent.Connection) bool, error) {
	var within []netip.Prefix // the pod's addresses
	cidr := netip.Prefix{}
	port, err := strconv.ParseUint(s.port, 10, 16)
	if s.port != "" && (err != nil || port == 0) {
		return nil, usage{fmt.Errorf("--port: %q is not a port: use 1 to 65535", s.port)}
	}
	if s.proto != "" && !slices.ContainsFunc(protocols, func(p string) bool { return strings.EqualFold(p, s.proto) }) {
		return nil, usage{badProtocol(s.proto)}
	}
	if s.ip != "" {
		p, err := parsePrefix(s.ip)
		if err != nil {
			return nil, usage{fmt.Errorf("--ip: %w", err)}
		}
		cidr = p
	}
	if s.pod != "" {
		if !podPattern.MatchString(s.pod) {
			return nil, usage{fmt.Errorf("--pod: %q is not a pod: write NAMESPACE/POD", s.pod)}
		}
		var err error
		if within, err = addressesOf(ctx, env, s.pod); err != nil {
			return nil, err
		}
	}
	return func(c agent.Connection) bool {
		a, b := endOf(c.Source), endOf(c.Dest)
		return (s.proto == "" || strings.EqualFold(s.proto, c.Proto) || strings.EqualFold(s.proto, "icmp") && c.Proto == "ICMPv4") &&
			(s.port == "" || uint64(a.Port()) == port || uint64(b.Port()) == port) &&
			(s.ip == "" || cidr.Contains(a.Addr()) || cidr.Contains(b.Addr())) &&
			(s.pod == "" || slices.ContainsFunc(within, func(p netip.Prefix) bool { return p.Contains(a.Addr()) || p.Contains(b.Addr()) }))
	}, nil
}

// addressesOf returns the addresses of a pod, on whatever node it is.
func addressesOf(ctx context.Context, env *Env, pod string) ([]netip.Prefix, error) {
	rows, err := list[agent.IP](ctx, env, agent.PathIPs)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, r := range rows {
		if p, err := netip.ParsePrefix(r.Prefix); err == nil && r.Of == pod {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no pod %q has an address in the ipcache: weir ip list shows those that have", pod)
	}
	return out, nil
}

// endOf reads "10.0.0.3:80", "[fd00::3]:80", or an address without a port.
func endOf(s string) netip.AddrPort {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap
	}
	a, _ := netip.ParseAddr(s)
	return netip.AddrPortFrom(a, 0)
}

func connectionGrid(all []agent.Connection) grid {
	g := grid{{"PROTO", "CONNECTION", "STATE", "EXPIRES IN", "SENT (packets/bytes)", "ANSWERED", "RULES (egress/ingress)", "WAY OUT"}}
	for _, c := range all {
		state := c.State
		if c.Stale {
			state += ", stale"
		}
		g.add(c.Proto, ends(c), state, max(0, c.Expires).Round(time.Second).String(), traffic(c.Sent), traffic(c.Answered),
			ruleText(c.Egress)+"/"+ruleText(c.Ingress), c.Out[0]+" / "+c.Out[1])
	}
	return g
}

// ends are "10.0.0.3:40000 -> 10.96.0.1:80 => 10.0.1.3:8080" of a connection to
// a service, with " as 172.18.0.2:1030" behind a source that another takes the
// place of.
func ends(c agent.Connection) string {
	out := c.Source
	if c.SourceAs != "" {
		out += " as " + c.SourceAs
	}
	out += " -> " + c.Dest
	if c.Backend != "" {
		out += " => " + c.Backend
	}
	return out
}

func traffic(c agent.Counter) string { return count64(c.Packets) + "/" + count64(c.Bytes) }

func ruleText(id uint32) string {
	if id == 0 {
		return "-"
	}
	return strconv.FormatUint(uint64(id), 10)
}
