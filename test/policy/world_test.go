package policytest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/bpf"
	"weir/control/identity"
	"weir/control/ipcache"
	"weir/control/policy"
	"weir/datapath"
	"weir/source/convert"
	"weir/source/files"
	"weir/state"
	"weir/test/policy/generate"
	"weir/test/policy/oracle"
)

// agent is the part of an agent between objects and maps, without a kernel.
type agent struct {
	settings  oracle.Settings
	dir       string
	tables    *state.Tables
	source    *files.Source
	identity  *identity.Control
	ipcache   *ipcache.Control
	addresses *datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]
	nodes     datapath.Memory[uint32, bpf.Node]
	policy    *policy.Control
	stores    datapath.PolicyStores
	stepped   func() // after each step of the policies, or nil
}

// generations counts nothing: no connection lives here.
type generations struct{}

func (generations) Bump(...uint32) error { return nil }
func (generations) BumpAll() error       { return nil }

func newAgent(dir string, s oracle.Settings) (*agent, error) {
	a := &agent{settings: s, dir: dir, addresses: &datapath.Memory[bpf.IPCacheKey, bpf.IPCacheEntry]{},
		stores: datapath.MemoryPolicyStores(datapath.PolicyCapacity{})}
	return a, a.start()
}

// start makes everything anew but what is in the maps.
func (a *agent) start() error {
	log, s := slog.New(slog.DiscardHandler), a.settings
	a.tables = state.New()
	addresses, err := datapath.OpenMirror(bpf.MapIPCache, a.addresses)
	if err != nil {
		return err
	}
	nodes, err := datapath.OpenMirror(bpf.MapNodes, &a.nodes)
	if err != nil {
		return err
	}
	written, err := datapath.OpenPolicyMaps(a.stores)
	if err != nil {
		return err
	}
	a.source = files.New(log, a.dir, convert.Scope{Cluster: s.Cluster, LocalNode: s.Node, CIDRMatchMode: s.CIDRMatch}, a.tables)
	a.identity = identity.New(log, identity.Options{Cluster: s.Cluster}, a.tables)
	a.ipcache = ipcache.New(log, ipcache.Options{Dual: s.IPv4 && s.IPv6, Nodes: 64, Underlay6: func() bool { return false }}, a.tables,
		ipcache.Maps{IPCache: addresses, Nodes: nodes, Generations: generations{}})
	a.policy = policy.New(log, policy.Options{Cluster: s.Cluster, Mode: policy.Mode(s.Mode), Respond: state.DenyResponse(s.Respond),
		HostFirewall: s.HostFirewall, IPv4: s.IPv4, IPv6: s.IPv6}, a.tables, written)
	a.tables.Devices.MarkSynced()
	a.tables.HostAddresses.MarkSynced()
	a.tables.Endpoints.MarkSynced()
	return nil
}

// apply makes the objects the whole world, and brings the maps up to date. An
// object that is refused is an error: what the generator makes is valid.
func (a *agent) apply(objects []byte) error {
	if err := os.WriteFile(filepath.Join(a.dir, "objects.yaml"), objects, 0o600); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel() // the source reads its folder and returns at once
	if err := a.source.Run(ended); err != nil {
		return err
	}
	for _, p := range a.tables.Problems.All() {
		return &mismatch{"refused: " + regexp.MustCompile(`[0-9]+|".*?"`).ReplaceAllString(p.Error, "_"), p.Key.Object + ": " + p.Error}
	}
	for before := uint64(0); ; { // numbers come into use when policy knows them
		if err := a.step(context.Background()); err != nil {
			return err
		}
		_, now, _ := a.tables.JudgedIdentities.Changes(before)
		if now == before {
			return nil
		}
		before = now
	}
}

func (a *agent) step(ctx context.Context) error {
	if err := a.identity.Step(ctx); err != nil {
		return fmt.Errorf("identities: %w", err)
	}
	a.tables.Endpoints.Replace(a.endpoints(), func(x, y state.Endpoint) bool { return fmt.Sprint(x) == fmt.Sprint(y) })
	if err := a.ipcache.Step(ctx); err != nil {
		return fmt.Errorf("ipcache: %w", err)
	}
	if err := a.policy.Step(ctx); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if a.stepped != nil {
		a.stepped()
	}
	return nil
}

// Numbers of the endpoints that are no pods of the objects.
const (
	orphanID = 100
	healthID = 101
)

// endpoints plays control/endpoint: each pod of this node has one, and so have
// those whose pods are not known, and the node's health.
func (a *agent) endpoints() []state.Endpoint {
	var out []state.Endpoint
	add := func(id state.EndpointID, pod state.PodName, addrs []netip.Addr, identity state.IdentityID) {
		e := state.Endpoint{ID: id, Pod: pod, Identity: identity, State: state.EndpointReady, Ifindex: int(bpf.IfindexBase) + int(id), Health: identity == state.IdentityHealth}
		for _, addr := range addrs {
			if addr.Is4() {
				e.IPv4 = addr
			} else {
				e.IPv6 = addr
			}
		}
		out = append(out, e)
	}
	for name, p := range a.tables.Pods.All() {
		if p.Node != a.settings.Node || p.HostNetwork {
			continue
		}
		id := state.IdentityInit
		if row, ok := a.tables.PodIdentities.Get(name); ok {
			id = row.ID
		}
		add(numberOf(name.Name), name, p.IPs, id)
	}
	if len(a.settings.Orphans) > 0 {
		add(orphanID, state.PodName{Namespace: a.settings.OrphansIn, Name: "ghost"}, a.settings.Orphans, state.IdentityInit)
	}
	if n, ok := a.tables.Nodes.Get(a.settings.Node); ok && len(n.Health) > 0 {
		add(healthID, state.PodName{}, n.Health, state.IdentityHealth)
	}
	return out
}

// numberOf makes "pod7" endpoint 8.
func numberOf(pod string) state.EndpointID {
	n := 0
	fmt.Sscanf(strings.TrimLeft(pod, "abcdefghijklmnopqrstuvwxyz-"), "%d", &n)
	return state.EndpointID(n + 1)
}

// maps reads what the agent wrote.
func (a *agent) maps() (*Maps, error) {
	addresses, err := a.addresses.Load()
	if err != nil {
		return nil, err
	}
	m := &Maps{Config: constants(), IPCache: addresses, Endpoints: map[uint32]bpf.Endpoint{}}
	for id, e := range a.tables.Endpoints.All() {
		m.Endpoints[uint32(id)] = bpf.Endpoint{ID: uint32(id), Ifindex: uint32(e.Ifindex), Identity: uint32(e.Identity),
			IPv4: bpf.AddrFrom(e.IPv4), IPv6: bpf.AddrFrom(e.IPv6)}
	}
	switch a.settings.Routing {
	case "tunnel":
		m.Config.TunnelIfindex = underlayIfindex
	case "legacy":
		m.Config.HostRouting = 0
	}
	if a.settings.HostFirewall {
		m.Config.HostFirewall = 1
	}
	for i, f := range a.settings.FailSafe {
		m.Config.Failsafe[i] = uint32(f.Proto)<<16 | uint32(f.Port)
		if f.Ingress {
			m.Config.Failsafe[i] |= 1 << 24
		}
	}
	return m, errors.Join(load(a.stores.Endpoints, &m.Policies), load(a.stores.Peers, &m.Peers), load(a.stores.CIDRs, &m.CIDRs),
		load(a.stores.Sets, &m.Sets), load(a.stores.Rows, &m.Rows), load(a.stores.Rules, &m.Rules), load(a.stores.Ranges, &m.Ranges))
}

func load[K, V comparable](from datapath.Store[K, V], into *map[K]V) (err error) {
	*into, err = from.Load()
	return err
}

// mismatch is a packet about which two readers disagree.
type mismatch struct {
	stage string // "refused", "rows", "maps", ...: of the same bug, the same
	text  string
}

func (m *mismatch) Error() string { return m.stage + ": " + m.text }

// dirs are reused: a case is written over the last.
func scratch(t testing.TB) string {
	for _, base := range []string{"/dev/shm", os.TempDir()} {
		if dir, err := os.MkdirTemp(base, "weir-policy-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
	}
	t.Fatal("no folder for objects")
	return ""
}

// lab is where cases are compared.
type lab struct {
	dir    string
	kernel *kernel // or nil
}

func newLab(t testing.TB) lab { return lab{scratch(t), theKernel(t)} }

// compare asks every reader about every packet of a case.
func (l lab) compare(c generate.Case) *mismatch {
	a, err := newAgent(l.dir, c.Settings)
	if err != nil {
		return &mismatch{"agent", err.Error()}
	}
	if err := a.apply(c.ObjectsYAML()); err != nil {
		var m *mismatch
		if errors.As(err, &m) {
			return m
		}
		return &mismatch{"apply", err.Error()}
	}
	return a.compare(l.kernel, c)
}

func (a *agent) compare(k *kernel, c generate.Case) *mismatch {
	w, err := c.World()
	if err != nil {
		return &mismatch{"oracle", err.Error()}
	}
	m, err := a.maps()
	if err != nil {
		return &mismatch{"read maps", err.Error()}
	}
	if err := m.Check(); err != nil {
		return &mismatch{"layout", err.Error()}
	}
	rows := Rows{c.Settings, a.tables, m}
	for _, p := range c.Packets {
		var want, byRows [2]oracle.Judgement
		var byMaps [2]Judgement
		want[0], want[1] = w.Judge(p)
		byRows[0], byRows[1] = rows.Judge(p)
		byMaps[0], byMaps[1] = m.Judge(p)
		for i, d := range []oracle.Direction{oracle.Egress, oracle.Ingress} {
			all := func(stage string) *mismatch {
				return &mismatch{stage + " " + string(d), fmt.Sprintf("%s -> %s proto %d port %d:\n  oracle: %s by %q, answer %q\n  rows:   %s by %q\n  maps:   %s",
					w.Who(p.Src).Name(), w.Who(p.Dst).Name(), p.Proto, p.Port, want[i].Verdict, want[i].By, want[i].Respond, byRows[i].Verdict, byRows[i].By, byMaps[i])}
			}
			if differ(want[i].Verdict, byRows[i].Verdict) || !sameNames(want[i], byRows[i]) {
				return all("rows")
			}
			if what := disagree(want[i], byMaps[i]); what != "" {
				return all(what)
			}
		}
		if err := a.explains(m, p, want); err != nil {
			return &mismatch{"explain", fmt.Sprintf("%s -> %s proto %d port %d: %v", w.Who(p.Src).Name(), w.Who(p.Dst).Name(), p.Proto, p.Port, err)}
		}
		if k == nil {
			continue
		}
		if err := k.agrees(m, p, byMaps[0], byMaps[1]); err != nil {
			return &mismatch{"program", fmt.Sprintf("%s -> %s proto %d port %d: %v", w.Who(p.Src).Name(), w.Who(p.Dst).Name(), p.Proto, p.Port, err)}
		}
	}
	return nil
}

// disagree says in what the maps differ from the objects: "" is in nothing.
func disagree(want oracle.Judgement, got Judgement) string {
	answer := map[bool]string{false: "drop", true: "reject"}[got.Reject]
	switch {
	case differ(want.Verdict, got.Verdict):
		return "maps"
	case !want.Passes() && !slices.Contains(want.Respond, answer):
		return "answer"
	}
	return ""
}

// differ: what nothing enforces and what a rule allows passes alike.
func differ(a, b oracle.Verdict) bool {
	open := func(v oracle.Verdict) bool { return v == oracle.NotEnforced || v == oracle.Allowed }
	return a != b && !(open(a) && open(b))
}

// sameNames: the same rules decided, in whatever order.
func sameNames(a, b oracle.Judgement) bool {
	set := func(list []string) []string {
		return slices.Compact(slices.Sorted(slices.Values(list)))
	}
	return a.Verdict != b.Verdict || slices.Equal(set(a.By), set(b.By))
}
