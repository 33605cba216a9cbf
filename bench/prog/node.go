package prog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/control/policy"
	"weir/datapath"
	"weir/state"
)

// The node that the programs believe to be on. Pod 1 sends, the pods behind it
// are beside it, the others are on another node.
var (
	pods   = [2]string{"10.60.1.11", "fd60:1::11"}
	beside = [2]string{"10.60.1.12", "fd60:1::12"}
	far    = [2]string{"10.60.2.11", "fd60:2::11"}
	node   = "172.30.60.1"
	next   = [2]string{"172.30.60.2", "fd30:60::2"}
	subnet = [2]string{"10.60.1.0/24", "fd60:1::/112"}
)

const (
	neighbours = 100  // pods of this node, beside the one that sends
	others     = 1000 // pods of the other node
	identity   = 20001
	nextNode   = 1 // row of weir_nodes

	ringOctets = 4 << 20 // more events than one system call of packets has
)

// loaded is the programs of one configuration, with the agent's own maps.
type loaded struct {
	datapath *datapath.Datapath
	events   *datapath.Events
	cfg      bpf.Config
	root     string // of the bpffs
	programs map[string]*ebpf.Program
	maps     map[string]*ebpf.Map
	colls    []*ebpf.Collection

	tables *state.Tables
	policy *policy.Control
}

func (l *loaded) close() error {
	for _, c := range l.colls {
		c.Close()
	}
	for _, m := range l.maps {
		m.Close()
	}
	if l.events != nil {
		l.events.Close()
	}
	if l.datapath != nil {
		l.datapath.Close()
	}
	err := os.RemoveAll(datapath.NewTree(l.root).Root())
	for unix.Unmount(l.root, unix.MNT_DETACH) == nil { // as often as it is mounted
	}
	return errors.Join(err, os.Remove(l.root))
}

// load loads all objects for a node in tunnel mode, or in native mode when
// tunnel is 0, and fills the maps. Programs see what wrap makes of them. root is
// a folder that becomes a bpffs, connections the size of their table, level what they
// tell of. Close it in any case.
func load(root string, tunnel, connections uint32, level bpf.Monitor, wrap func(*ebpf.ProgramSpec)) (*loaded, error) {
	l := &loaded{root: root, programs: map[string]*ebpf.Program{}, maps: map[string]*ebpf.Map{}, tables: state.New()}
	build, err := bpf.Build()
	if err != nil {
		return l, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return l, err
	}
	if l.datapath, err = datapath.Open(slog.New(slog.DiscardHandler), options(root, connections)); err != nil {
		return l, err
	}
	if l.events, err = l.datapath.OpenEvents(); err != nil {
		return l, err
	}
	ticks, err := datapath.MeasureTicks()
	if err != nil {
		return l, err
	}
	l.cfg = bpf.Config{RouterIPv4: bpf.AddrFrom(netip.MustParseAddr("10.60.1.1")), RouterIPv6: bpf.AddrFrom(netip.MustParseAddr("fd60:1::1")),
		Build: build, TunnelIfindex: tunnel, HostIfindex: 1, TunnelMTU: 1450, IPv4: 1, IPv6: 1, HostRouting: 1,
		Monitor: uint8(level), MonitorRate: uint32(1 << 32 / uint64(ticks.Of(5*time.Second))), DNS: 1}
	for _, name := range bpf.Objects {
		if err := l.object(name, wrap); err != nil {
			return l, fmt.Errorf("load object %s: %w", name, err)
		}
	}
	if err := l.fill(tunnel > 0); err != nil {
		return l, fmt.Errorf("fill maps: %w", err)
	}
	l.policy = policy.New(slog.New(slog.DiscardHandler), policy.Options{}, l.tables, l.datapath.Policy)
	return l, l.enforce(nil)
}

func options(root string, connections uint32) datapath.Options {
	return datapath.Options{Root: root, Sizes: map[string]uint32{bpf.MapEvents: ringOctets, bpf.MapTraces: ringOctets},
		Connections: datapath.ConnectionOptions{Size: connections}}
}

func benchLabels() state.Labels {
	return state.Labels{"k8s:app=bench", state.LabelCluster + "=bench", state.LabelNamespace + "=default"}
}

// enforce puts these policies in force, in place of those that were.
func (l *loaded) enforce(rows []state.Policy) error {
	old := l.tables.Policies
	for key := range old.All() {
		old.Delete(key)
	}
	for _, r := range rows {
		old.Put(r)
	}
	if err := l.policy.Step(context.Background()); err != nil {
		return fmt.Errorf("put policies in force: %w", err)
	}
	for _, s := range l.policy.Policies() {
		if s.State != policy.StateInForce {
			return fmt.Errorf("policy %s is %s: %s", s.Key, s.State, s.Message)
		}
	}
	return nil
}

func (l *loaded) object(name string, wrap func(*ebpf.ProgramSpec)) error {
	spec, err := bpf.Spec(name)
	if err != nil {
		return err
	}
	if err := spec.Variables["config"].Set(l.cfg); err != nil {
		return err
	}
	for _, p := range spec.Programs {
		wrap(p)
	}
	replace := map[string]*ebpf.Map{}
	for n, m := range spec.Maps {
		if !strings.HasPrefix(n, "weir_") {
			continue
		}
		if l.maps[n] == nil {
			if l.maps[n], err = ebpf.LoadPinnedMap(l.datapath.Tree().Map(n), nil); err != nil {
				return fmt.Errorf("open %s: %w", n, err)
			}
		}
		m.Pinning, m.MaxEntries = ebpf.PinNone, l.maps[n].MaxEntries()
		replace[n] = l.maps[n]
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace})
	if err != nil {
		return err
	}
	l.colls = append(l.colls, coll)
	for n, p := range coll.Programs {
		l.programs[n] = p
	}
	return nil
}

// fill writes the maps that say who is where, and the rows that policy is
// derived from.
func (l *loaded) fill(tunnel bool) error {
	labels := benchLabels()
	for _, r := range append(state.AllReserved(), state.Identity{ID: identity, Labels: labels}) {
		l.tables.Identities.Put(r)
	}
	l.tables.VisibleLabels.Put(state.VisibleLabel{Key: "k8s:app"})
	ips := [2]netip.Addr{netip.MustParseAddr(pods[0]), netip.MustParseAddr(pods[1])}
	for id := uint32(1); id <= neighbours+1; id++ {
		row := bpf.Endpoint{IPv4: bpf.AddrFrom(ips[0]), IPv6: bpf.AddrFrom(ips[1]), ID: id, Ifindex: uint32(bpf.IfindexBase) + id, Identity: identity}
		if err := l.maps[bpf.MapEndpoints].Put(id, row); err != nil {
			return err
		}
		l.tables.Endpoints.Put(state.Endpoint{ID: state.EndpointID(id), IPv4: ips[0], IPv6: ips[1], Identity: identity, Labels: labels,
			Pod: state.PodName{Namespace: "default", Name: fmt.Sprintf("p%d", id)}, State: state.EndpointReady})
		for f := range ips {
			if err := l.ip(ips[f], bpf.IPCacheEntry{Identity: identity, Endpoint: id}); err != nil {
				return err
			}
			ips[f] = ips[f].Next()
		}
	}
	if err := l.elsewhere(tunnel); err != nil {
		return err
	}
	return l.ip(netip.MustParseAddr(node), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityHost), Flags: uint8(bpf.IPCacheHost)})
}

// elsewhere fills in the other node's pods, and the rest of the world.
func (l *loaded) elsewhere(tunnel bool) error {
	remote := bpf.IPCacheEntry{Identity: identity}
	if tunnel {
		remote.TunnelEndpoint, remote.Node = bpf.AddrFrom(netip.MustParseAddr(next[0])), nextNode
		if err := l.maps[bpf.MapNodes].Put(uint32(nextNode), bpf.Node{Addr: remote.TunnelEndpoint}); err != nil {
			return err
		}
	}
	for f := range 2 {
		a := netip.MustParseAddr(far[f])
		for range others {
			if err := l.ip(a, remote); err != nil {
				return err
			}
			a = a.Next()
		}
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if f == 1 {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if err := l.prefix(all, bpf.IPCacheEntry{Identity: uint32(bpf.IdentityWorld)}); err != nil {
			return err
		}
		if err := l.prefix(netip.MustParsePrefix(subnet[f]), bpf.IPCacheEntry{Identity: uint32(bpf.IdentityWorld), Flags: uint8(bpf.IPCacheLocalCIDR)}); err != nil {
			return err
		}
	}
	return nil
}

func (l *loaded) ip(a netip.Addr, e bpf.IPCacheEntry) error {
	return l.prefix(netip.PrefixFrom(a, a.BitLen()), e)
}

func (l *loaded) prefix(p netip.Prefix, e bpf.IPCacheEntry) error {
	return l.maps[bpf.MapIPCache].Put(bpf.IPCacheKeyFrom(p), e)
}
