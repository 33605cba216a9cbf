package lifecycle

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/api/agent"
	"weir/lab"
)

// strangers are things of another network that stand on a node's bpffs and eth0.
type strangers struct{ pins map[string]uint32 }

// plantStrangers pins a map and a program below calico/, and puts the program
// on eth0 as a tcx link and as a tc filter.
func plantStrangers(t *testing.T, n lab.Node) strangers {
	t.Helper()
	dir := filepath.Join(bpfRoot(n), "calico")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "failsafe_ports", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := passProgram(t)
	defer p.Close()
	if err := m.Pin(filepath.Join(dir, "map")); err != nil {
		t.Fatal(err)
	}
	if err := p.Pin(filepath.Join(dir, "program")); err != nil {
		t.Fatal(err)
	}
	inNode(t, n, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: eth0.Attrs().Index, Program: p, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		defer l.Close()
		if err := l.Pin(filepath.Join(dir, "link")); err != nil {
			return err
		}
		return addFilter(eth0.Attrs().Index, p)
	})
	return strangers{lookStrangers(t, n)}
}

// passProgram lets every packet on to the next program (TCX_NEXT).
func passProgram(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "stranger", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func addFilter(index int, p *ebpf.Program) error {
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(clsact); err != nil {
		return err
	}
	return netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 7, Priority: 50, Protocol: unix.ETH_P_ALL},
		Fd:          p.FD(), Name: "stranger", DirectAction: true,
	})
}

// lookStrangers returns what there is of strangers, with ids.
func lookStrangers(t *testing.T, n lab.Node) map[string]uint32 {
	t.Helper()
	dir := filepath.Join(bpfRoot(n), "calico")
	out := map[string]uint32{
		"map": pinned(t, filepath.Join(dir, "map"), "maps"), "program": pinned(t, filepath.Join(dir, "program"), "programs"),
		"link": pinned(t, filepath.Join(dir, "link"), "links"),
	}
	inNode(t, n, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		filters, err := netlink.FilterList(eth0, netlink.HANDLE_MIN_INGRESS)
		for _, f := range filters {
			out["filter "+f.(*netlink.BpfFilter).Name] = uint32(f.(*netlink.BpfFilter).Id)
		}
		if err != nil {
			return err
		}
		got, err := link.QueryPrograms(link.QueryOptions{Target: eth0.Attrs().Index, Attach: ebpf.AttachTCXIngress})
		for _, p := range got.Programs {
			if uint32(p.ID) == out["program"] {
				out["tcx"] = uint32(p.ID)
			}
		}
		return err
	})
	return out
}

func (s strangers) wantUntouched(t *testing.T, n lab.Node, after string) {
	t.Helper()
	if diff := cmp.Diff(s.pins, lookStrangers(t, n)); diff != "" {
		t.Errorf("foreign things after %s (-before +after):\n%s", after, diff)
	}
}

func TestRowN1ForeignPinsAndProgramsStay(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-foreign", Nodes: lab.Nodes(2)}, pods)
	n := node(t, l, "n1")
	s := plantStrangers(t, n)
	if len(s.pins) != 5 {
		t.Fatalf("strangers: %v, want map, program, link, filter and tcx", s.pins)
	}
	wantPing(t, l, "a", "c")
	agentDo(t, l, "n1", lab.AgentRestart)
	s.wantUntouched(t, n, "a restart")
	wantPing(t, l, "a", "c")
	config := filepath.Join(n.Dir, "weir.yaml")
	write(t, config, read(t, config)+"cleanState: true\n")
	agentDo(t, l, "n1", lab.AgentRestart)
	s.wantUntouched(t, n, "a start with cleanState")
	agentDo(t, l, "n1", lab.AgentStop)
	cleanup(t, l, n)
	s.wantUntouched(t, n, "cleanup")
}

func cleanup(t *testing.T, l *lab.Lab, n lab.Node) {
	t.Helper()
	run(t, l, n.Name, "weir-agent", "cleanup", "-config", filepath.Join(n.Dir, "weir.yaml"))
}

// hostState is what a node has that an agent could have left there.
func hostState(t *testing.T, l *lab.Lab, n lab.Node) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range [][]string{
		{"ip", "-o", "link", "show"}, {"ip", "-o", "addr", "show"}, {"ip", "route", "show", "table", "all"},
		{"ip", "-6", "route", "show", "table", "all"}, {"ip", "rule"}, {"ip", "-6", "rule"}, {"bpftool", "net", "show"},
	} {
		out[strings.Join(c, " ")] = run(t, l, n.Name, c...)
	}
	entries, _ := os.ReadDir(bpfRoot(n))
	for _, e := range entries {
		out["bpffs "+e.Name()] = "there"
	}
	return out
}

var peerNetns = regexp.MustCompile(`link-netns \S+|alias weir lab .*`)

func TestRowN4CleanupLeavesNothingOfOurs(t *testing.T) {
	for _, mode := range []string{lab.ModeVXLAN, lab.ModeNative} {
		t.Run(mode, func(t *testing.T) {
			l := ownLab(t, lab.Spec{Name: "ltb-clean-" + mode, Nodes: lab.Nodes(2), Mode: mode}, pods)
			n := node(t, l, "n1")
			if tcx, _ := hooked(t, n); !slices.Contains(tcx, "eth0 from_netdev") {
				t.Fatalf("programs before the cleanup: %q, want from_netdev on eth0 among them", tcx)
			}
			run(t, l, "n1", "ip", "link", "add", "weirdo", "type", "veth", "peer", "name", "weir0123456789")
			agentDo(t, l, "n1", lab.AgentStop)
			for range 2 {
				cleanup(t, l, n)
			}
			state := hostState(t, l, n)
			for what, text := range state {
				for line := range strings.Lines(text) {
					line = peerNetns.ReplaceAllString(line, "") // the lab's names
					ours := strings.Contains(line, "weir") && !strings.Contains(line, "weirdo") && !strings.Contains(line, "weir0123456789")
					if ours || strings.Contains(line, "10.0.0.") || strings.Contains(line, "10.0.1.0") || strings.Contains(line, "fd00::") {
						t.Errorf("%s still says %q", what, strings.TrimSpace(line))
					}
				}
			}
			if tcx, filters := hooked(t, n); len(tcx)+len(filters) > 0 {
				t.Errorf("programs are left on devices: by tcx %q, by filters %q", tcx, filters)
			}
			if state["bpffs weir"] != "" {
				t.Error("the folder weir is left on bpffs")
			}
			if got := run(t, l, "n1", "ip", "-o", "link"); !strings.Contains(got, "weirdo") {
				t.Errorf("cleanup removed a device that is not ours:\n%s", got)
			}
			if _, err := os.Stat(filepath.Join(n.Dir, "run")); !os.IsNotExist(err) {
				t.Errorf("the run folder is left: %v", err)
			}
			run(t, l, "n1", "ip", "link", "del", "weirdo")
			agentDo(t, l, "n1", lab.AgentStart)
			attach(t, l, "n1", "again").add(t)
		})
	}
}

// startUnready starts the agent of a node, which must run and not get ready.
func startUnready(t *testing.T, l *lab.Lab, name string, reasons ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Agent(ctx, name, lab.AgentStart) }()
	until(t, 10*time.Second, func() string { // the record has the process only when the start is over
		var s agent.Status
		if err := agent.NewClient(node(t, l, name).Socket()).Get(t.Context(), agent.PathStatus, &s); err != nil {
			return err.Error()
		}
		if s.OK {
			return "status says that all is well"
		}
		text := fmt.Sprintf("%+v", s)
		for _, r := range reasons {
			if !strings.Contains(text, r) {
				return fmt.Sprintf("status lacks %q: %s", r, text)
			}
		}
		return ""
	})
	cancel()
	if err := <-done; err == nil {
		t.Fatalf("the agent of %s got ready", name)
	}
}

func wantReady(t *testing.T, l *lab.Lab, name string) {
	t.Helper()
	until(t, 15*time.Second, func() string {
		if err := agent.NewClient(node(t, l, name).Socket()).Get(t.Context(), agent.PathCNIStatus, nil); err != nil {
			return err.Error()
		}
		return ""
	})
}

func TestForeignDeviceAtOurNameIsRefusedAndLeftAlone(t *testing.T) {
	for _, s := range []struct {
		name, device string
		make         []string
	}{
		{"veth", "weir_host", []string{"ip", "link", "add", "weir_host", "type", "veth", "peer", "name", "stranger"}},
		{"bridge", "weir_vxlan", []string{"ip", "link", "add", "weir_vxlan", "type", "bridge"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			l := ownLab(t, lab.Spec{Name: "ltb-name-" + s.name, Nodes: lab.Nodes(1)}, "")
			agentDo(t, l, "n1", lab.AgentStop)
			cleanup(t, l, node(t, l, "n1"))
			run(t, l, "n1", s.make...)
			before := run(t, l, "n1", "ip", "-o", "-d", "link", "show", s.device)
			startUnready(t, l, "n1", s.device, "not ours", "ip link del "+s.device)
			if after := run(t, l, "n1", "ip", "-o", "-d", "link", "show", s.device); after != before {
				t.Errorf("the foreign device: got\n%swant\n%s", after, before)
			}
			r := attach(t, l, "n1", "early").call(t, "ADD", nil)
			wantRefusal(t, "ADD meanwhile", r, uint(agent.CodeTryAgainLater))
			run(t, l, "n1", "ip", "link", "del", s.device)
			wantReady(t, l, "n1")
			attach(t, l, "n1", "late").add(t)
		})
	}
}

func TestForeignMapAtOurPinIsRefusedAndLeftAlone(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-pin", Nodes: lab.Nodes(1)}, "")
	n := node(t, l, "n1")
	agentDo(t, l, "n1", lab.AgentStop)
	cleanup(t, l, n)
	pin := filepath.Join(tree(n), "maps", "weir_ipcache")
	if err := os.MkdirAll(filepath.Dir(pin), 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "somebody", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Pin(pin); err != nil {
		t.Fatal(err)
	}
	before := pinned(t, pin, "maps")
	err = l.Agent(t.Context(), "n1", lab.AgentStart)
	if err == nil {
		t.Fatal("the agent got ready over a map that is not ours")
	}
	wantText(t, "agent", err.Error(), pin, "somebody", "remove the pin")
	if after := pinned(t, pin, "maps"); after != before {
		t.Errorf("the foreign map: id %d, want %d", after, before)
	}
	if err := os.Remove(pin); err != nil {
		t.Fatal(err)
	}
	agentDo(t, l, "n1", lab.AgentStart)
	attach(t, l, "n1", "late").add(t)
}

func TestSecondAgentOfOneNodeIsRefused(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-two", Nodes: lab.Nodes(1)}, bare("a", "n1"))
	n := node(t, l, "n1")
	before := pins(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, flag := range []string{"-debug", "-clean-state"} {
		r := l.Exec(ctx, "n1", "weir-agent", "-config", filepath.Join(n.Dir, "weir.yaml"), flag)
		if r.Code != 1 {
			t.Errorf("second agent with %s: exit code %d, want 1", flag, r.Code)
		}
		wantText(t, "second agent", r.Stderr, "another agent", fmt.Sprintf("pid %d", n.Agent.PID), "weir.pid", "stop it")
		if diff := cmp.Diff(before, pins(t, n)); diff != "" {
			t.Errorf("what the second agent with %s did to the pins of the first (-before +after):\n%s", flag, diff)
		}
	}
	// Other folders do not make it another node.
	for _, verb := range [][]string{nil, {"cleanup"}} {
		argv := append(append([]string{"weir-agent"}, verb...), "-config", filepath.Join(n.Dir, "weir.yaml"), "-set", "runDir="+t.TempDir(),
			"-set", "stateDir="+t.TempDir(), "-set", "bpf.root="+t.TempDir())
		r := l.Exec(ctx, "n1", argv...)
		if r.Code != 1 {
			t.Errorf("%v: exit code %d, want 1", argv, r.Code)
		}
		wantText(t, "agent with folders of its own", r.Stderr, "another agent", fmt.Sprintf("pid %d", n.Agent.PID), "this network namespace", "stop it")
	}
	r := l.Exec(ctx, "n1", "weir-agent", "cleanup", "-config", filepath.Join(n.Dir, "weir.yaml"))
	if r.Code != 1 {
		t.Errorf("cleanup under a running agent: exit code %d, want 1", r.Code)
	}
	wantText(t, "cleanup", r.Stderr, "another agent", fmt.Sprintf("pid %d", n.Agent.PID), "stop it")
	if diff := cmp.Diff(before, pins(t, n)); diff != "" {
		t.Errorf("pins after a cleanup that was refused (-before +after):\n%s", diff)
	}
	if got := endpoints(t, l, "n1"); len(got) != 1 {
		t.Errorf("endpoints: %v, want that of a", got)
	}
	for _, ip := range pod(t, l, "a").IPs {
		run(t, l, "n1", "ping", "-n", "-c1", "-W2", ip.String())
	}
}

func TestAnotherBPFFSOverTheRootIsNamed(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-over", Nodes: lab.Nodes(1)}, "")
	n := node(t, l, "n1")
	agentDo(t, l, "n1", lab.AgentStop)
	mount(t, "bpf", bpfRoot(n))
	agentDo(t, l, "n1", lab.AgentStart)
	warnings := strings.Join(get[agent.Status](t, l, "n1", agent.PathStatus).Warnings, "\n")
	wantText(t, "warnings", warnings, "more than one bpffs", bpfRoot(n))
}

func TestBPFRootOfAnotherKindIsRefused(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-tmpfs", Nodes: lab.Nodes(1)}, "")
	n := node(t, l, "n1")
	agentDo(t, l, "n1", lab.AgentStop)
	mount(t, "tmpfs", bpfRoot(n))
	err := l.Agent(t.Context(), "n1", lab.AgentStart)
	wantText(t, "agent", fmt.Sprint(err), bpfRoot(n), "type tmpfs, not bpf", "unmount it")
	if err := unix.Unmount(bpfRoot(n), 0); err != nil {
		t.Fatal(err)
	}
	agentDo(t, l, "n1", lab.AgentStart)
}

func mount(t *testing.T, kind, at string) {
	t.Helper()
	if err := unix.Mount(kind, at, kind, 0, ""); err != nil {
		t.Fatalf("mount %s at %s: %v", kind, at, err)
	}
}

func TestRowA1AgentMountsBPFFSOnce(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-mount", Nodes: lab.Nodes(1)}, "")
	root := bpfRoot(node(t, l, "n1"))
	agentDo(t, l, "n1", lab.AgentStop)
	if err := unix.Unmount(root, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		agentDo(t, l, "n1", lab.AgentRestart)
		if out, err := exec.Command("stat", "-f", "-c", "%T", root).Output(); string(out) != "bpf_fs\n" || err != nil {
			t.Errorf("file system at %s: %q %v, want bpf_fs", root, out, err)
		}
		if got := bpfMounts(t, root); got != 1 {
			t.Errorf("mounts at %s: %d, want 1", root, got)
		}
	}
}
