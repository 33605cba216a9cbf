package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/api/agent"
	"weir/bpf"
	"weir/lab"
)

func TestRowA2PinsOutliveAKilledAgent(t *testing.T) {
	l := vxlanLab(t)
	n := node(t, l, "n1")
	before := pins(t, n)
	agentDo(t, l, "n1", lab.AgentKill)
	if diff := cmp.Diff(before, pins(t, n)); diff != "" {
		t.Errorf("pins while no agent runs (-before +after):\n%s", diff)
	}
	wantPing(t, l, "a", "c")
	agentDo(t, l, "n1", lab.AgentStart)
	if diff := cmp.Diff(before, pins(t, n)); diff != "" {
		t.Errorf("pins after the restart (-before +after):\n%s", diff)
	}
}

func TestRowA3CleanStateWipesWhatItNames(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-clean", Nodes: lab.Nodes(2)}, pods)
	n := node(t, l, "n1")
	config := filepath.Join(n.Dir, "weir.yaml")
	kept := read(t, config)
	before := mapPins(pins(t, n))

	agentDo(t, l, "n1", lab.AgentRestart)
	if diff := cmp.Diff(before, mapPins(pins(t, n))); diff != "" {
		t.Errorf("without a clean key the maps stay (-before +after):\n%s", diff)
	}

	write(t, config, kept+"cleanBPFState: true\n")
	agentDo(t, l, "n1", lab.AgentRestart)
	after := mapPins(pins(t, n))
	for name, id := range after {
		if id == before[name] {
			t.Errorf("cleanBPFState: %s still has id %d, want another", name, id)
		}
	}
	if len(after) != len(before) {
		t.Errorf("cleanBPFState: maps %v, want those of %v", after, before)
	}
	until(t, 5*time.Second, func() string { return unready(t, l, "n1", "a", "b") })
	wantPing(t, l, "a", "b")
	wantPing(t, l, "a", "c")

	write(t, config, kept+"cleanState: true\n")
	agentDo(t, l, "n1", lab.AgentRestart)
	for _, e := range get[[]agent.Endpoint](t, l, "n1", agent.PathEndpoints) {
		if e.Pod != "" && e.Pod != "/" {
			t.Errorf("cleanState: endpoint %d of pod %s is left", e.ID, e.Pod)
		}
	}
	if got := run(t, l, "n1", "ip", "-o", "link"); strings.Contains(got, pod(t, l, "a").HostDevice) {
		t.Errorf("cleanState: the device of pod a is left:\n%s", got)
	}
}

// unready names the first of the pods that is not a ready endpoint, or "".
func unready(t *testing.T, l *lab.Lab, node string, pods ...string) string {
	t.Helper()
	state := map[string]string{}
	for _, e := range get[[]agent.Endpoint](t, l, node, agent.PathEndpoints) {
		state[e.Pod] = e.State
	}
	for _, p := range pods {
		if state["default/"+p] != "ready" {
			return fmt.Sprintf("endpoint of %s is %q, want ready; all: %v", p, state["default/"+p], state)
		}
	}
	return ""
}

func TestRowA6TrafficSurvivesAgentKill(t *testing.T) {
	for _, s := range []struct {
		name string
		lab  func(*testing.T) *lab.Lab
		down time.Duration
	}{{"vxlan", vxlanLab, time.Minute}, {"native", nativeLab, 5 * time.Second}} {
		t.Run(s.name, func(t *testing.T) {
			l := s.lab(t)
			startEcho(t, l, "b")
			startEcho(t, l, "c")
			streams := append(startTraffic(t, l, "a", "b"), startTraffic(t, l, "a", "c")...)
			flow(t, streams, 200*time.Millisecond)
			settled(t, l)
			before := map[string]map[string]uint32{"n1": pins(t, node(t, l, "n1")), "n2": pins(t, node(t, l, "n2"))}
			for n := range before {
				agentDo(t, l, n, lab.AgentKill)
			}
			flow(t, streams, s.down)
			for n := range before {
				agentDo(t, l, n, lab.AgentStart)
			}
			flow(t, streams, time.Second)
			wantNoLoss(t, streams)
			for n, want := range before {
				if diff := cmp.Diff(want, pins(t, node(t, l, n))); diff != "" {
					t.Errorf("ids of maps and programs on %s (-before +after):\n%s", n, diff)
				}
				log := lastStart(t, node(t, l, n))
				wantText(t, "agent log of "+n, log, fmt.Sprintf("loaded=0 adopted=%d", int(bpf.PlaceToHost)+2+len(bpf.SocketPrograms))) // expire has no place
				if strings.Contains(strings.ReplaceAll(log, "loaded=0", ""), " loaded=") {
					t.Errorf("agent log of %s tells of loaded programs:\n%s", n, log)
				}
			}
		})
	}
}

func TestRowA7BiggerMapsUnderTraffic(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-sizes", Nodes: lab.Nodes(2), Agent: map[string]any{
		"bpf": map[string]any{"ipcacheSize": 2048, "endpoints": 64}}}, pods)
	n := node(t, l, "n1")
	startEcho(t, l, "b")
	startEcho(t, l, "c")
	streams := append(startTraffic(t, l, "a", "b"), startTraffic(t, l, "a", "c")...)
	flow(t, streams, 200*time.Millisecond)
	before := map[string]agent.MapDump{}
	for _, name := range []string{"weir_ipcache", "weir_endpoints"} {
		before[name] = get[agent.MapDump](t, l, "n1", agent.PathMaps+"/"+name)
	}
	config := filepath.Join(n.Dir, "weir.yaml")
	write(t, config, strings.NewReplacer("ipcacheSize: 2048", "ipcacheSize: 8192", "endpoints: 64", "endpoints: 256").Replace(read(t, config)))
	agentDo(t, l, "n1", lab.AgentRestart)
	flow(t, streams, time.Second)
	wantNoLoss(t, streams)
	for name, want := range map[string]uint32{"weir_ipcache": 8192, "weir_endpoints": 256} {
		after := get[agent.MapDump](t, l, "n1", agent.PathMaps+"/"+name)
		if after.MaxEntries != want || after.ID == before[name].ID {
			t.Errorf("%s: %d entries possible, id %d; want %d and another id than %d", name, after.MaxEntries, after.ID, want, before[name].ID)
		}
		if diff := cmp.Diff(before[name].Rows, after.Rows); diff != "" {
			t.Errorf("entries of %s (-before +after):\n%s", name, diff)
		}
	}
	wantText(t, "agent log", lastStart(t, n), "map replaced", "old_entries=2048 new_entries=8192", "old_entries=64 new_entries=256")
	if left, _ := filepath.Glob(filepath.Join(tree(n), "maps", "*-pending")); len(left) > 0 {
		t.Errorf("pins of maps that should have been put in place: %q", left)
	}
}

func TestRowL3DeleteWhileTheAgentIsDownIsDoneLater(t *testing.T) {
	l := ownLab(t, lab.Spec{Name: "ltb-queue", Nodes: lab.Nodes(1)}, bare("stays", "n1")+bare("goes", "n1"))
	n := node(t, l, "n1")
	run := filepath.Join(n.Dir, "run")
	for name, mode := range map[string]os.FileMode{"weir.sock": 0o600, "weir.pid": 0o600} {
		if st, err := os.Stat(filepath.Join(run, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want mode %o", name, st, err, mode)
		}
	}
	ips := pod(t, l, "goes").IPs
	agentDo(t, l, "n1", lab.AgentKill)
	if err := l.DeletePods(t.Context(), "goes"); err != nil {
		t.Fatalf("delete a pod while its agent is down: %v", err)
	}
	if queued, _ := filepath.Glob(filepath.Join(run, "deleteQueue", "*.json")); len(queued) != 1 {
		t.Errorf("queued deletes: %q, want one", queued)
	}
	agentDo(t, l, "n1", lab.AgentStart)
	if queued, _ := filepath.Glob(filepath.Join(run, "deleteQueue", "*")); len(queued) != 0 {
		t.Errorf("queued deletes after the start: %q, want none", queued)
	}
	want := len(get[[]agent.Endpoint](t, l, "n1", agent.PathEndpoints))
	for _, p := range get[agent.Status](t, l, "n1", agent.PathStatus).IPAM {
		if p.Allocated != uint64(want+1) { // and the router
			t.Errorf("%s: %d addresses allocated for %d endpoints and the router", p.CIDR, p.Allocated, want)
		}
	}
	until(t, 5*time.Second, func() string {
		for _, row := range get[[]agent.IP](t, l, "n1", agent.PathIPs) {
			for _, ip := range ips {
				if strings.HasPrefix(row.Prefix, ip.String()+"/") {
					return fmt.Sprintf("the ipcache still has %+v", row)
				}
			}
		}
		return ""
	})
}
