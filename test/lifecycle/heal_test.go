package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/api/agent"
	"weir/lab"
)

func TestLostEndpointFilesCostNoPacket(t *testing.T) {
	l := ownLab(t, smallPool("ltb-lost", "10.9.0.0/29", "fd09::/120"), pods)
	n := node(t, l, "n1")
	startEcho(t, l, "b")
	startEcho(t, l, "c")
	streams := append(startTraffic(t, l, "a", "b"), startTraffic(t, l, "a", "c")...)
	flow(t, streams, 200*time.Millisecond)
	agentDo(t, l, "n1", lab.AgentKill)
	files, _ := filepath.Glob(filepath.Join(n.Dir, "run/state/endpoints/*.json"))
	if len(files) < 3 {
		t.Fatalf("endpoint files: %q, want those of two pods and the health endpoint", files)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	agentDo(t, l, "n1", lab.AgentStart)
	until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "b") })
	flow(t, streams, time.Second)
	wantNoLoss(t, streams)
	wantPing(t, l, "b", "a")

	agentDo(t, l, "n1", lab.AgentRestart) // recovered endpoints are kept like any
	until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "b") })
	wantPing(t, l, "a", "c")

	ips, dev := pod(t, l, "b").IPs, pod(t, l, "b").HostDevice
	if err := l.DeletePods(t.Context(), "b"); err != nil {
		t.Fatalf("delete a pod whose file was lost: %v", err)
	}
	wantEndpoints(t, l, "n1", []string{"default/a"})
	if r := l.Exec(t.Context(), "n1", "ip", "link", "show", dev); r.OK() {
		t.Errorf("the device of the deleted pod is left: %s", r.Stdout)
	}
	// Of six, router, health endpoint and pod a have three.
	for i := range 3 {
		x := attach(t, l, "n1", fmt.Sprintf("p%d", i))
		got, _ := x.add(t)
		if got[0] != ips[0] {
			continue
		}
		for _, ip := range got {
			run(t, l, "c", "ping", "-n", "-c1", "-W2", ip.String())
		}
		return
	}
	t.Errorf("nobody got the deleted pod's address %s, and the pool is full", ips[0])
}

func TestDamagedDeviceOfOursHealsWithinTwoSeconds(t *testing.T) {
	for _, damage := range [][]string{
		{"ip", "link", "del", "weir_vxlan"},
		{"ip", "link", "set", "weir_vxlan", "down"},
		{"ip", "link", "del", "weir_host"},
		{"ip", "link", "set", "weir_host", "down"},
	} {
		for _, s := range shared {
			if s.mode != lab.ModeVXLAN && slices.Contains(damage, "weir_vxlan") {
				continue
			}
			t.Run(fmt.Sprint(s.name, damage[2:]), func(t *testing.T) {
				l := s.get(t)
				wantPing(t, l, "a", "c")
				start := time.Now()
				run(t, l, "n1", damage...)
				until(t, 2*time.Second, func() string { return unwell(t, l) })
				took := time.Since(start)
				t.Logf("well again after %s", took.Round(time.Millisecond))
				if took > 2*time.Second {
					t.Errorf("well again after %s, want at most 2s", took)
				}
				wantPing(t, l, "c", "a")
			})
		}
	}
}

// unwell says which way from n1 or its pod a does not work, or that status is
// not Ok; or "".
func unwell(t *testing.T, l *lab.Lab) string {
	t.Helper()
	for _, from := range []string{"a", "n1"} {
		for _, to := range []string{"b", "c"} {
			for _, ip := range pod(t, l, to).IPs {
				if r := l.Exec(t.Context(), from, "ping", "-n", "-c1", "-W0.2", ip.String()); !r.OK() {
					return from + " does not reach " + ip.String()
				}
			}
		}
	}
	if s := get[agent.Status](t, l, "n1", agent.PathStatus); !s.OK {
		return fmt.Sprintf("status is not Ok: %+v", s)
	}
	return ""
}

func TestPipeAmongTheObjectsIsReportedAndBlocksNothing(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-pipe", Nodes: lab.Nodes(1)}, bare("a", "n1"))
	pipe := filepath.Join(objectsOf(t, l), "x.yaml")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	wantProblems := func(want int) {
		t.Helper()
		until(t, 10*time.Second, func() string {
			s := get[agent.Status](t, l, "n1", agent.PathStatus)
			if len(s.Problems) != want || want > 0 && s.Problems[0].File != "x.yaml" {
				return fmt.Sprintf("problems: %+v, want %d of x.yaml", s.Problems, want)
			}
			return ""
		})
	}
	wantProblems(1)
	if err := l.ApplyYAML(t.Context(), "more.yaml", []byte(bare("late", "n1"))).Err(); err != nil {
		t.Fatal(err)
	}
	until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "late") })
	wantPing(t, l, "a", "late")
	agentDo(t, l, "n1", lab.AgentRestart)
	until(t, 10*time.Second, func() string { return unready(t, l, "n1", "a", "late") })
	wantProblems(1)
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	wantProblems(0)
}
