package prog

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// The node that the programs believe to be on. Pod 1 sends, pod 2 is beside
// it, the others are on other nodes.
var (
	pods   = [2][2]string{{"10.60.1.11", "10.60.1.12"}, {"fd60:1::11", "fd60:1::12"}}
	far    = [2]string{"10.60.2.11", "fd60:2::11"}
	node   = "172.30.60.1"
	next   = [2]string{"172.30.60.2", "fd30:60::2"}
	subnet = [2]string{"10.60.1.0/24", "fd60:1::/112"}
)

// others is how many pods of other nodes the ipcache holds beside the one that
// is spoken to.
const others = 1000

// loaded is the programs of one configuration, with their maps.
type loaded struct {
	programs map[string]*ebpf.Program
	maps     map[string]*ebpf.Map
	colls    []*ebpf.Collection
}

func (l *loaded) close() {
	for _, c := range l.colls {
		c.Close()
	}
}

// load loads all objects for a node in tunnel mode, or in native mode when
// tunnel is 0, and fills the maps.
func load(tunnel uint32) (*loaded, error) {
	l := &loaded{programs: map[string]*ebpf.Program{}, maps: map[string]*ebpf.Map{}}
	build, err := bpf.Build()
	if err != nil {
		return nil, err
	}
	cfg := bpf.Config{RouterIPv4: bpf.AddrFrom(netip.MustParseAddr("10.60.1.1")), RouterIPv6: bpf.AddrFrom(netip.MustParseAddr("fd60:1::1")),
		Build: build, TunnelIfindex: tunnel, HostIfindex: 1, TunnelMTU: 1450, IPv4: 1, IPv6: 1, HostRouting: 1}
	for _, name := range bpf.Objects {
		if err := l.object(name, cfg); err != nil {
			l.close()
			return nil, fmt.Errorf("load object %s: %w", name, err)
		}
	}
	if err := l.fill(tunnel > 0); err != nil {
		l.close()
		return nil, fmt.Errorf("fill maps: %w", err)
	}
	return l, nil
}

func (l *loaded) object(name string, cfg bpf.Config) error {
	spec, err := bpf.Spec(name)
	if err != nil {
		return err
	}
	if err := spec.Variables["config"].Set(cfg); err != nil {
		return err
	}
	if p := spec.Programs[bpf.ProgFromOverlay]; p != nil {
		wrapPacket(p)
	}
	replace := map[string]*ebpf.Map{}
	for n, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
		if l.maps[n] != nil {
			replace[n] = l.maps[n]
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace})
	if err != nil {
		return err
	}
	l.colls = append(l.colls, coll)
	for n, p := range coll.Programs {
		l.programs[n] = p
	}
	for n, m := range coll.Maps {
		if len(n) > 5 && n[:5] == "weir_" {
			l.maps[n] = m
		}
	}
	return nil
}

func (l *loaded) fill(tunnel bool) error {
	for i := range 2 {
		id := uint32(i + 1)
		row := bpf.Endpoint{IPv4: bpf.AddrFrom(netip.MustParseAddr(pods[0][i])), IPv6: bpf.AddrFrom(netip.MustParseAddr(pods[1][i])),
			ID: id, Ifindex: uint32(bpf.IfindexBase) + id, Identity: 20000 + id}
		if err := l.maps[bpf.MapEndpoints].Put(id, row); err != nil {
			return err
		}
		for f := range 2 {
			if err := l.ip(pods[f][i], bpf.IPCacheEntry{Identity: 20000 + id, Endpoint: id}); err != nil {
				return err
			}
		}
	}
	remote := bpf.IPCacheEntry{Identity: 20003}
	if tunnel {
		remote.TunnelEndpoint = bpf.AddrFrom(netip.MustParseAddr(next[0]))
	}
	for f := range 2 {
		a := netip.MustParseAddr(far[f])
		for range others + 1 {
			if err := l.ip(a.String(), remote); err != nil {
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
	return l.ip(node, bpf.IPCacheEntry{Identity: uint32(bpf.IdentityHost), Flags: uint8(bpf.IPCacheHost)})
}

func (l *loaded) ip(a string, e bpf.IPCacheEntry) error {
	addr := netip.MustParseAddr(a)
	return l.prefix(netip.PrefixFrom(addr, addr.BitLen()), e)
}

func (l *loaded) prefix(p netip.Prefix, e bpf.IPCacheEntry) error {
	return l.maps[bpf.MapIPCache].Put(bpf.IPCacheKeyFrom(p), e)
}
