package policytest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"weir/bpf"
	"weir/test/policy/oracle"
)

// Devices of the namespace in which the programs run. Endpoints have theirs by
// their numbers.
const (
	underlayIfindex = 5000
	hostIfindex     = 5001
	lastPod         = 12 // numbers from 1
)

// kernel is the real programs over real maps.
type kernel struct {
	maps     map[string]*ebpf.Map
	programs map[bpf.Config]map[string]*ebpf.Program // by constants
	held     map[string]map[any]bool                 // keys in each map
	ran      map[string]int                          // packets by program and what became of them
	filled   *Maps                                   // what they hold
	table    *ebpf.Map                               // of connections
	jobs     chan func()
}

// theKernel is one for all tests: loading costs more than most of them. It is
// nil where programs can not be loaded: then the other readers are compared
// alone.
func theKernel(t testing.TB) *kernel {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Log("not root: the programs are not run")
		return nil
	}
	if _, err := bpf.Spec("pod"); errors.Is(err, bpf.ErrNotBuilt) {
		t.Log(err)
		return nil
	}
	k, err := startKernel()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var startKernel = sync.OnceValues(func() (*kernel, error) {
	k := &kernel{maps: map[string]*ebpf.Map{}, programs: map[bpf.Config]map[string]*ebpf.Program{}, held: map[string]map[any]bool{}, ran: map[string]int{}, jobs: make(chan func())}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread has a namespace of its own
		_, err := netns.New()
		started <- errors.Join(err, makeDevices())
		for f := range k.jobs {
			f()
		}
	}()
	return k, <-started
})

// addressed is the hardware address of every device: frames are for whom they come to.
var addressed = net.HardwareAddr{2, 0, 0, 0, 0, 2}

func makeDevices() error {
	devices := map[string]int{"underlay": underlayIfindex, "weir_host": hostIfindex, "orphan": device(orphanID), "health": device(healthID)}
	for i := 1; i <= lastPod; i++ {
		devices[fmt.Sprintf("pod%d", i)] = device(uint32(i))
	}
	for name, index := range devices {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Index, attrs.Flags, attrs.HardwareAddr = name, index, net.FlagUp, addressed
		pair := netlink.NewVeth(attrs)
		pair.PeerName = name + "-in"
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("make %s with index %d: %w", name, index, err)
		}
	}
	return nil
}

func device(endpoint uint32) int { return int(bpf.IfindexBase) + int(endpoint) }

// load returns the programs with these constants, on the maps that all share.
func (k *kernel) load(cfg bpf.Config) (map[string]*ebpf.Program, error) {
	if p, ok := k.programs[cfg]; ok {
		return p, nil
	}
	programs := map[string]*ebpf.Program{}
	for _, object := range []string{"pod", "host"} {
		spec, err := bpf.Spec(object)
		if err != nil {
			return nil, err
		}
		if err := spec.Variables["config"].Set(cfg); err != nil {
			return nil, err
		}
		for name := range spec.Programs {
			if !slices.Contains([]string{bpf.ProgFromPod, bpf.ProgToPod, bpf.ProgFromHost, bpf.ProgFromNetdev, bpf.ProgToNetdev}, name) {
				delete(spec.Programs, name)
			}
		}
		coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: k.maps})
		if err != nil {
			return nil, fmt.Errorf("load %s: %+v", object, err)
		}
		for name, m := range coll.Maps {
			if _, ok := k.maps[name]; !ok && strings.HasPrefix(name, "weir_") {
				if k.maps[name], err = m.Clone(); err != nil {
					return nil, err
				}
			}
		}
		if err := k.connections(spec.Maps[bpf.MapCT]); err != nil {
			return nil, err
		}
		for name, p := range coll.Programs {
			programs[name] = p
		}
	}
	k.programs[cfg] = programs
	return programs, nil
}

// connections gives the programs a small table.
func (k *kernel) connections(outer *ebpf.MapSpec) (err error) {
	if k.table != nil {
		return nil
	}
	inner := outer.InnerMap.Copy()
	inner.MaxEntries = 1024
	if k.table, err = ebpf.NewMap(inner); err != nil {
		return fmt.Errorf("make a table of connections: %w", err)
	}
	return k.maps[bpf.MapCT].Put(uint32(0), k.table)
}

// forget empties it: each packet is the first of its connection.
func (k *kernel) forget() error {
	var key bpf.CTKey
	for {
		err := k.table.NextKey(nil, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err == nil {
			err = k.table.Delete(&key)
		}
		if err != nil {
			return fmt.Errorf("forget connections: %w", err)
		}
	}
}

// put makes a map hold exactly what it should.
func put[K comparable, V any](k *kernel, name string, want map[K]V) error {
	m := k.maps[name]
	for old := range k.held[name] {
		key := old.(K)
		if _, ok := want[key]; ok {
			continue
		}
		var err error
		if m.Type() == ebpf.Array {
			var zero V
			err = m.Put(&key, &zero)
		} else {
			err = m.Delete(&key)
		}
		if err != nil {
			return fmt.Errorf("%s: delete %v: %w", name, key, err)
		}
	}
	k.held[name] = map[any]bool{}
	for key, value := range want {
		k.held[name][key] = true
		if err := m.Put(&key, &value); err != nil {
			return fmt.Errorf("%s: put %v: %w", name, key, err)
		}
	}
	return nil
}

// fill gives the programs a world.
func (k *kernel) fill(m *Maps) error {
	if k.filled == m {
		return nil
	}
	k.filled = m
	return errors.Join(
		put(k, bpf.MapEndpoints, m.Endpoints), put(k, bpf.MapIPCache, m.IPCache), put(k, bpf.MapPolicy, m.Policies),
		put(k, bpf.MapPolicyPeers, m.Peers), put(k, bpf.MapPolicyCIDRs, m.CIDRs), put(k, bpf.MapPolicySets, m.Sets),
		put(k, bpf.MapPolicyRows, m.Rows), put(k, bpf.MapPolicyRules, m.Rules), put(k, bpf.MapPolicyRanges, m.Ranges))
}

// outcome is what the program did.
type outcome struct {
	program string // "": the packet meets none that judges
	reason  bpf.Reason
	denied  bool // by policy
	told    bool // the sender was answered
	verdict int32
}

func (o outcome) String() string {
	return fmt.Sprintf("%s: verdict %d, denied %v (%s), answered %v", o.program, o.verdict, o.denied, o.reason, o.told)
}

// run sends the packet through the program that it would meet on this node.
func (k *kernel) run(m *Maps, p oracle.Packet) (out outcome, err error) {
	done := make(chan struct{})
	k.jobs <- func() {
		defer close(done)
		out, err = k.runHere(m, p)
	}
	<-done
	return out, err
}

func (k *kernel) runHere(m *Maps, p oracle.Packet) (outcome, error) {
	programs, err := k.load(m.Config)
	if err != nil {
		return outcome{}, err
	}
	if err := k.fill(m); err != nil {
		return outcome{}, err
	}
	name, ifindex, place := m.way(p)
	if name == "" {
		return outcome{}, nil
	}
	if err := k.forget(); err != nil {
		return outcome{}, err
	}
	before, err := k.counters(place)
	if err != nil {
		return outcome{}, err
	}
	ctx := skb{Ifindex: uint32(ifindex)}
	in := frame(p)
	verdict, err := programs[name].Run(&ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: &ctx})
	if err != nil {
		return outcome{}, fmt.Errorf("run %s: %w", name, err)
	}
	after, err := k.counters(place)
	if err != nil {
		return outcome{}, err
	}
	out := outcome{program: name, verdict: int32(verdict)}
	for i, r := range watched {
		if after[i] == before[i] {
			continue
		}
		switch r {
		case bpf.ReasonReset, bpf.ReasonProhibited:
			out.told = true
		default:
			out.reason, out.denied = r, true
		}
	}
	k.ran[fmt.Sprintf("%s, denied %v, answered %v", name, out.denied, out.told)]++
	return out, nil
}

// watched are the reasons that tell what policy did.
var watched = []bpf.Reason{bpf.DropPolicy, bpf.DropPolicyDeny, bpf.DropNoPolicy, bpf.ReasonReset, bpf.ReasonProhibited}

func (k *kernel) counters(place bpf.Place) (out [5]uint64, err error) {
	var perCPU []bpf.Metric
	for i, r := range watched {
		at := place
		if r == bpf.ReasonReset || r == bpf.ReasonProhibited {
			at = bpf.PlaceNone
		}
		if err := k.maps[bpf.MapMetrics].Lookup(bpf.MetricIndex(at, r), &perCPU); err != nil {
			return out, err
		}
		for _, v := range perCPU {
			out[i] += v.Packets
		}
	}
	return out, nil
}

// way is the program that a packet meets first: where its sender is.
func (m *Maps) way(p oracle.Packet) (program string, ifindex int, place bpf.Place) {
	src, _ := m.lookup(p.Src)
	dst, _ := m.lookup(p.Dst)
	fromHost, toHost := src.Flags&uint8(bpf.IPCacheHost) != 0, dst.Flags&uint8(bpf.IPCacheHost) != 0
	switch {
	case src.Endpoint != 0:
		return bpf.ProgFromPod, device(src.Endpoint), bpf.PlaceFromPod
	case fromHost && dst.Endpoint != 0:
		return bpf.ProgFromHost, hostIfindex, bpf.PlaceFromHost
	case fromHost && !toHost && m.Config.HostFirewall != 0:
		return bpf.ProgToNetdev, underlayIfindex, bpf.PlaceToNetdev
	case m.Config.TunnelIfindex != 0 && src.TunnelEndpoint != (bpf.Addr{}) && dst.Endpoint != 0:
		return bpf.ProgToPod, device(dst.Endpoint), bpf.PlaceToPod // the underlay brings none of these, and a test run has no tunnel key
	case !fromHost && (dst.Endpoint != 0 || toHost && m.Config.HostFirewall != 0):
		return bpf.ProgFromNetdev, underlayIfindex, bpf.PlaceFromNetdev
	}
	return "", 0, 0
}

// skb is struct __sk_buff, as far as a test may set it.
type skb struct {
	_       [10]uint32
	Ifindex uint32
	_       [30]uint32
	_       [7]uint32
}

// frame is the packet's bytes, the first of its connection.
func frame(p oracle.Packet) []byte {
	const sport = 40000
	var stack []gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: addressed, EthernetType: layers.EthernetTypeIPv4}
	if p.Src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocol(p.Proto), SrcIP: p.Src.AsSlice(), DstIP: p.Dst.AsSlice()}
		network, stack = ip, append(stack, eth, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocol(p.Proto), SrcIP: p.Src.AsSlice(), DstIP: p.Dst.AsSlice()}
		network, stack = ip, append(stack, eth, ip)
	}
	raw := make([]byte, 64)
	binary.BigEndian.PutUint16(raw, sport)
	binary.BigEndian.PutUint16(raw[2:], p.Port)
	switch p.Proto {
	case 6:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(p.Port), SYN: true, Window: 1000}
		tcp.SetNetworkLayerForChecksum(network)
		stack = append(stack, tcp)
	case 17:
		udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(p.Port)}
		udp.SetNetworkLayerForChecksum(network)
		stack = append(stack, udp, gopacket.Payload(make([]byte, 8)))
	case 1, 58: // type, code, checksum, identifier
		clear(raw[:4])
		raw[0] = byte(p.Port)
		binary.BigEndian.PutUint16(raw[4:], sport)
		stack = append(stack, gopacket.Payload(raw))
	default:
		stack = append(stack, gopacket.Payload(raw))
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		panic(err) // a packet that no test could mean
	}
	return b.Bytes()
}

// constants are those of every case, beside what its settings say.
func constants() bpf.Config {
	addr := func(s string) bpf.Addr { return bpf.AddrFrom(netip.MustParseAddr(s)) }
	return bpf.Config{RouterIPv4: addr("10.0.1.1"), RouterIPv6: addr("fd00:1::1"), NodeIPv4: addr("172.18.0.2"), NodeIPv6: addr("fd12::2"),
		HostIfindex: hostIfindex, TunnelMTU: 1450, IPv4: 1, IPv6: 1, HostRouting: 1, Services: 1, TunnelPort: network(tunnelPort)}
}
