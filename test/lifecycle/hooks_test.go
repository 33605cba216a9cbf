package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"weir/api/agent"
	"weir/lab"
)

// hooked lists the programs on both hooks of a node's devices as "DEVICE NAME",
// those of tcx links apart from those of filters. It asks the kernel: bpftool
// lists tcx links from 7.3 on.
func hooked(t *testing.T, n lab.Node) (tcx, filters []string) {
	t.Helper()
	inNode(t, n, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			name, index := l.Attrs().Name, l.Attrs().Index
			for attach, parent := range map[ebpf.AttachType]uint32{
				ebpf.AttachTCXIngress: netlink.HANDLE_MIN_INGRESS, ebpf.AttachTCXEgress: netlink.HANDLE_MIN_EGRESS,
			} {
				got, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: attach})
				if err != nil {
					return fmt.Errorf("query %s: %w", name, err)
				}
				for _, p := range got.Programs {
					text, err := programName(p.ID)
					if err != nil {
						return err
					}
					tcx = append(tcx, name+" "+text)
				}
				all, err := netlink.FilterList(l, parent)
				if err != nil {
					return fmt.Errorf("list filters of %s: %w", name, err)
				}
				for _, f := range all {
					b, ok := f.(*netlink.BpfFilter)
					if !ok {
						return fmt.Errorf("%s has a filter of type %s", name, f.Type())
					}
					text, err := programName(ebpf.ProgramID(b.Id))
					if err != nil {
						return err
					}
					filters = append(filters, name+" "+text)
				}
			}
		}
		return nil
	})
	slices.Sort(tcx)
	slices.Sort(filters)
	return tcx, filters
}

func programName(id ebpf.ProgramID) (string, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", fmt.Errorf("open program %d: %w", id, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Name, nil
}

func TestChangedAttachModeMovesEveryProgram(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-attach", Nodes: lab.Nodes(2), Agent: map[string]any{
		"bpf": map[string]any{"attachMode": "tcx"}}}, pods)
	n := node(t, l, "n1")
	want, others := hooked(t, n)
	if len(want) < 10 || len(others) > 0 {
		t.Fatalf("attached by tcx: %q, by filters: %q; want every program by tcx", want, others)
	}
	config := n.Dir + "/weir.yaml"
	text := read(t, config)
	for _, mode := range []string{"tc", "tcx", "tc"} {
		write(t, config, strings.Replace(text, "attachMode: tcx", "attachMode: "+mode, 1))
		agentDo(t, l, "n1", lab.AgentRestart)
		until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "b") })
		settled(t, l)
		until(t, 5*time.Second, func() string {
			got, left := hooked(t, n)
			if mode == "tc" {
				got, left = left, got
			}
			if !slices.Equal(got, want) || len(left) > 0 {
				return fmt.Sprintf("attachMode %s: attached that way %q, want %q; by the other way %q, want none", mode, got, want, left)
			}
			return ""
		})
		if s := get[agent.Status](t, l, "n1", agent.PathStatus); !s.OK {
			t.Errorf("attachMode %s: status is not Ok: %+v", mode, s)
		}
		wantPing(t, l, "a", "b")
		wantPing(t, l, "a", "c")
		wantPing(t, l, "c", "a")
		run(t, l, "n1", "ping", "-n", "-c1", "-W2", pod(t, l, "c").IPs[0].String())
	}
}
