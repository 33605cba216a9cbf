package bpftest

import (
	"encoding/binary"
	"errors"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netns"

	"weir/bpf"
)

// fate is what became of one packet.
type fate struct {
	verdict int32
	reason  bpf.Reason // at the program's place
	told    bpf.Reason // ReasonReset, ReasonProhibited, or none
	out     []byte
}

// send runs a packet through a program, on the device that its sender or
// receiver has.
func (n *node) send(t testing.TB, program string, p packet) fate {
	t.Helper()
	ifindex := usualDevice(program)
	for _, f := range families {
		if program == bpf.ProgFromPod && p.src == f.peer || program == bpf.ProgToPod && p.dst == f.peer {
			ifindex = device(peerID)
		}
	}
	return n.sendFrame(t, program, ifindex, p.bytes())
}

func (n *node) sendFrame(t testing.TB, program string, ifindex uint32, in []byte) (out fate) {
	t.Helper()
	got, err := n.run(program, skb{Ifindex: ifindex}, in)
	if err != nil {
		t.Fatalf("run %s: %v", program, err)
	}
	rose, err := n.count()
	if err != nil {
		t.Fatal(err)
	}
	out = fate{verdict: got.verdict, out: got.out}
	for _, c := range rose {
		switch {
		case c.Place == bpf.PlaceNone && c.Packets == 1 && out.told == 0:
			out.told = c.Reason
		case c.Place == place(program) && c.Packets == 1 && out.reason == 0:
			out.reason = c.Reason
		default:
			t.Fatalf("counted %v for one packet", rose)
		}
	}
	return out
}

// want sends a packet and compares its reason; a drop, and nothing else, is shot.
func (n *node) want(t testing.TB, what, program string, p packet, reason bpf.Reason) {
	t.Helper()
	got := n.send(t, program, p)
	if got.reason != reason {
		t.Errorf("%s: %s: got %d (%s), want %d (%s)", what, program, uint32(got.reason), got.reason, uint32(reason), reason)
	}
	if reason.Drop() != (got.verdict == shot) && reason != bpf.DropTTLExceeded {
		t.Errorf("%s: %s: verdict %d, reason %s", what, program, got.verdict, reason)
	}
}

// entries is the content of the connection table.
func (n *node) entries(t testing.TB) map[bpf.CTKey]bpf.CTEntry {
	t.Helper()
	return entriesOf(t, n.table)
}

func entriesOf(t testing.TB, m *ebpf.Map) map[bpf.CTKey]bpf.CTEntry {
	t.Helper()
	out := map[bpf.CTKey]bpf.CTEntry{}
	var k bpf.CTKey
	var e bpf.CTEntry
	it := m.Iterate()
	for it.Next(&k, &e) {
		out[k] = e
	}
	if err := it.Err(); err != nil {
		t.Fatalf("read connections: %v", err)
	}
	return out
}

// entry is the one connection in the table.
func (n *node) entry(t testing.TB) (bpf.CTKey, bpf.CTEntry) {
	t.Helper()
	all := n.entries(t)
	if len(all) != 1 {
		t.Fatalf("%d connections in the table, want one: %v", len(all), slices.Collect(maps.Keys(all)))
	}
	for k, e := range all {
		return k, e
	}
	panic("not reached")
}

func (n *node) noEntries(t testing.TB, after string) {
	t.Helper()
	if all := n.entries(t); len(all) != 0 {
		t.Errorf("%s: connections in the table: %v", after, slices.Collect(maps.Keys(all)))
	}
}

// forget empties the connection table.
func (n *node) forget(t testing.TB) {
	t.Helper()
	for k := range n.entries(t) {
		if err := n.table.Delete(k); err != nil {
			t.Fatal(err)
		}
	}
}

// Classes of policy that tests give endpoints. Class 1, which all have, is
// without rules.
const testClass = 5

// isolate gives an endpoint the test's class, isolated as the flags say, in a
// new epoch.
func (n *node) isolate(t testing.TB, endpoint uint32, flags bpf.PolicyFlag) {
	t.Helper()
	n.set(t, bpf.MapPolicy, endpoint, bpf.Policy{PolicyClass: testClass, Epoch: n.nextEpoch(), Flags: uint32(flags)})
}

// open takes an endpoint's policy away, in a new epoch.
func (n *node) open(t testing.TB, endpoint uint32) {
	t.Helper()
	n.set(t, bpf.MapPolicy, endpoint, bpf.Policy{PolicyClass: 1, Epoch: n.nextEpoch()})
}

func (n *node) nextEpoch() uint32 {
	n.epoch++
	return 100 + n.epoch
}

// rule is one of the test's class.
type rule struct {
	ingress  bool
	level    bpf.PolicyLevel
	proto    uint8
	port     uint16 // host order; LevelRange: the range's number
	selector uint16
	id       uint32
	flags    bpf.RuleFlag
}

func (n *node) rules(t testing.TB, rules ...rule) {
	t.Helper()
	for _, r := range rules {
		key := bpf.PolicyRowKey{PolicyClass: testClass, Port: bpf.Network(r.port), Proto: r.proto, Level: uint8(r.level)}
		if r.ingress {
			key.Level += uint8(bpf.Levels)
		}
		n.set(t, bpf.MapPolicyRules, bpf.PolicyRuleKey{Row: key, Selector: r.selector}, bpf.PolicyRule{ID: r.id, Flags: uint32(r.flags)})
		var row bpf.PolicyRow
		if err := n.maps[bpf.MapPolicyRows].Lookup(key, &row); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			t.Fatal(err)
		}
		row.Selectors |= 1 << (r.selector & 63)
		n.set(t, bpf.MapPolicyRows, key, row)
	}
}

// noRules takes every rule away.
func (n *node) noRules(t testing.TB) {
	t.Helper()
	clearMap[bpf.PolicyRowKey, bpf.PolicyRow](t, n.maps[bpf.MapPolicyRows])
	clearMap[bpf.PolicyRuleKey, bpf.PolicyRule](t, n.maps[bpf.MapPolicyRules])
	clearMap[bpf.PolicyRangeKey, uint32](t, n.maps[bpf.MapPolicyRanges])
	clearMap[bpf.IPCacheKey, uint32](t, n.maps[bpf.MapPolicyCIDRs])
	clearMap[uint32, uint32](t, n.maps[bpf.MapPolicyPeers])
}

func clearMap[K comparable, V any](t testing.TB, m *ebpf.Map) {
	t.Helper()
	var keys []K
	var k K
	var v V
	for it := m.Iterate(); it.Next(&k, &v); {
		keys = append(keys, k)
	}
	for _, k := range keys {
		if err := m.Delete(k); err != nil {
			t.Fatal(err)
		}
	}
}

// hits is what a rule's counter says, over all CPUs.
func (n *node) hits(t testing.TB, id uint32) (packets, octets uint64) {
	t.Helper()
	var perCPU []bpf.Metric
	if err := n.maps[bpf.MapPolicyCounters].Lookup(id, &perCPU); err != nil {
		t.Fatal(err)
	}
	for _, m := range perCPU {
		packets, octets = packets+m.Packets, octets+m.Bytes
	}
	return packets, octets
}

// Transport protocols of both families.
func (f family) icmp() layers.IPProtocol {
	if f.v6 {
		return layers.IPProtocolICMPv6
	}
	return layers.IPProtocolICMPv4
}

func (f family) pick(v4, v6 byte) byte {
	if f.v6 {
		return v6
	}
	return v4
}

// ping makes an echo request of a packet, pong the answer that p asks for.
// Their checksums are none of the programs' business.
func (f family) ping(p packet, id uint16) packet {
	return f.message(p, f.pick(8, 128), 0, binary.BigEndian.AppendUint16(nil, id)...)
}

func (f family) pong(p packet, id uint16) packet {
	return f.message(p, f.pick(0, 129), 0, binary.BigEndian.AppendUint16(nil, id)...)
}

// message makes an ICMP message of a packet.
func (f family) message(p packet, kind, code byte, rest ...byte) packet {
	p.proto = f.icmp()
	p.raw = append([]byte{kind, code, 0, 0}, rest...)
	for len(p.raw) < 8 {
		p.raw = append(p.raw, 0)
	}
	return p
}

// unreachable makes of p the error about another packet.
func (f family) unreachable(p packet, about packet) packet {
	quoted := about.bytes()[14:]
	return f.message(p, f.pick(3, 1), 1, append(make([]byte, 4), quoted...)...)
}

// inNamespace runs f on a thread of its own in the caller's namespace.
func inNamespace(t testing.TB, f func()) {
	here, err := netns.Get()
	if err != nil {
		t.Error(err)
		return
	}
	go func() {
		defer here.Close()
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(here); err != nil {
			t.Error(err)
		}
		f()
	}()
}
