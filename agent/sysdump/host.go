package sysdump

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// fromHost are the files about the kernel's side.
func fromHost(confDir string) []item {
	return []item{
		{"host/kernel.json", kernel},
		{"host/links.json", links},
		{"host/addresses.json", addresses},
		{"host/routes.json", routes},
		{"host/rules.json", rules},
		{"host/neighbours.json", neighbours},
		{"host/nft-counts.json", nftCounts},
		{"host/iptables-counts.json", tablesCounts("iptables-save")},
		{"host/ip6tables-counts.json", tablesCounts("ip6tables-save")},
		{"host/bpf-programs.json", tool(progKeys, "bpftool", "-j", "prog", "show")},
		{"host/bpf-links.json", tool(hookKeys, "bpftool", "-j", "link", "show")},
		{"host/cni-files.json", func(context.Context) (any, error) { return fileNames(confDir) }},
	}
}

// run returns what a program prints. Its environment is empty but for the path, so
// that nothing of ours can come back in what it prints.
func run(ctx context.Context, argv ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &bounded{to: &out, left: mostFile}, &bounded{to: &errs, left: 4096}
	switch err := c.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%s is not installed here", argv[0])
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: no answer in time", argv[0])
	case err != nil:
		first, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n")
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, first)
	}
	return out.Bytes(), nil
}

// bounded takes so much, and says that it took all.
type bounded struct {
	to   *bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.to.Write(p[:n])
	return len(p), nil
}

// tool is what a program prints as JSON, without the keys that are not named.
func tool(k keys, argv ...string) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		out, err := run(ctx, argv...)
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(out)) == 0 {
			return []any{}, nil
		}
		v, err := k.onlyIn(out)
		if err != nil {
			return nil, fmt.Errorf("%s printed no whole JSON: %w", argv[0], err)
		}
		return v, nil
	}
}

// sysctls are those that a pod network depends on.
var sysctls = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/disable_ipv6", "net/ipv4/conf/all/rp_filter",
	"net/ipv4/conf/default/rp_filter", "net/core/bpf_jit_enable", "net/core/bpf_jit_limit", "net/ipv4/ip_local_port_range", "net/ipv4/ping_group_range",
	"kernel/bpf_stats_enabled", "kernel/unprivileged_bpf_disabled", "net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"}

// kernel is which one it is, with the settings and mounts that count.
func kernel(context.Context) (any, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	out := map[string]any{"release": unix.ByteSliceToString(u.Release[:]), "machine": unix.ByteSliceToString(u.Machine[:]), "build": unix.ByteSliceToString(u.Version[:])}
	values := map[string]string{}
	for _, key := range sysctls {
		if b, err := os.ReadFile("/proc/sys/" + key); err == nil {
			values[key] = strings.Join(strings.Fields(string(b)), " ")
		}
	}
	out["sysctls"] = values
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return out, nil
	}
	found := []string{}
	for line := range strings.Lines(string(mounts)) {
		// Other kinds have what one logs in with among their options.
		if f := strings.Fields(line); len(f) > 3 && (f[2] == "bpf" || f[2] == "cgroup2") {
			found = append(found, f[2]+" "+f[1])
		}
	}
	out["mounts"] = found
	return out, nil
}

// nftCounts is how many chains and rules each table has. What rules say is not ours
// to tell.
func nftCounts(ctx context.Context) (any, error) {
	text, err := run(ctx, "nft", "-j", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	var set struct {
		Nftables []map[string]struct{ Family, Table, Name string }
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("nft printed no whole JSON: %w", err)
	}
	out := map[string]map[string]int{}
	for _, o := range set.Nftables {
		for kind, x := range o {
			table := x.Table
			if kind == "table" {
				table = x.Name
			}
			if kind == "metainfo" || table == "" {
				continue
			}
			name := x.Family + " " + table
			if out[name] == nil {
				out[name] = map[string]int{}
			}
			out[name][kind]++
		}
	}
	return out, nil
}

// tablesCounts is how many rules each chain of each table has, whose names are those
// of programs that people know.
func tablesCounts(program string) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		text, err := run(ctx, program)
		if err != nil {
			return nil, err
		}
		out, table := map[string]int{}, ""
		for line := range strings.Lines(string(text)) {
			switch f := strings.Fields(line); {
			case strings.HasPrefix(line, "*"):
				table = strings.TrimSpace(line[1:])
			case len(f) > 1 && f[0] == "-A":
				out[table+" "+f[1]]++
			}
		}
		return out, nil
	}
}

// fileNames are those of a folder, without what is in them.
func fileNames(dir string) (any, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	out := []string{}
	for _, f := range files {
		out = append(out, filepath.Join(dir, f.Name()))
	}
	return out, nil
}
