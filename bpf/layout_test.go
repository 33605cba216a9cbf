package bpf

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
)

// goTypes is the size of the Go types of each map's key and value: a map that
// is not here has none, and the test fails.
var goTypes = map[string]struct{ key, value uintptr }{
	MapEndpoints: {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Endpoint{})},
	MapIPCache:   {unsafe.Sizeof(IPCacheKey{}), unsafe.Sizeof(IPCacheEntry{})},
	MapMetrics:   {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Metric{})},

	MapNodes:       {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Node{})},
	MapGenerations: {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(uint32(0))},
	MapCT:          {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(uint32(0))}, // a map's id; see also the test of its inner map
	MapFragments:   {unsafe.Sizeof(FragmentKey{}), unsafe.Sizeof(Fragment{})},

	MapPolicy:         {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Policy{})},
	MapPolicyPeers:    {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(uint32(0))},
	MapPolicyCIDRs:    {unsafe.Sizeof(IPCacheKey{}), unsafe.Sizeof(uint32(0))},
	MapPolicySets:     {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(PolicySet{})},
	MapPolicyRows:     {unsafe.Sizeof(PolicyRowKey{}), unsafe.Sizeof(PolicyRow{})},
	MapPolicyRules:    {unsafe.Sizeof(PolicyRuleKey{}), unsafe.Sizeof(PolicyRule{})},
	MapPolicyRanges:   {unsafe.Sizeof(PolicyRangeKey{}), unsafe.Sizeof(uint32(0))},
	MapPolicyCounters: {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Metric{})},

	MapServices:      {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(uint32(0))}, // a map's id; see also the test of inner maps
	MapSlots:         {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(uint32(0))},
	MapBackends:      {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(uint32(0))},
	MapFrontends:     {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(uint32(0))},
	MapAffinity:      {unsafe.Sizeof(AffinityKey{}), unsafe.Sizeof(Affinity{})},
	MapDSR:           {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Frontend{})},
	MapSourceRanges:  {unsafe.Sizeof(SourceRange{}), unsafe.Sizeof(uint32(0))},
	MapUnmasqueraded: {unsafe.Sizeof(IPCacheKey{}), unsafe.Sizeof(uint32(0))},
	MapNATRetries:    {4, 8},

	MapSocketPeer:  {unsafe.Sizeof(int32(0)), unsafe.Sizeof(SocketPeer{})},
	MapSocketPeers: {unsafe.Sizeof(int32(0)), unsafe.Sizeof(SocketPeers{})},
	MapSocketUsers: {unsafe.Sizeof(SocketUser{}), unsafe.Sizeof(uint32(0))},

	MapL2: {unsafe.Sizeof(L2Key{}), unsafe.Sizeof(L2Entry{})},

	MapEvents: {0, 0}, // a ring of Event
	MapWalk:   {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Walk{})},
	MapSteps:  {0, 0}, // a ring of Step
	MapTraces: {0, 0},
	MapDNS:    {0, 0}, // a ring of DNSAnswer

	MapEventBudget: {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Budget{})},
}

// inner are the same of the maps that are in other maps.
var inner = map[string]struct{ key, value uintptr }{
	MapCT:        {unsafe.Sizeof(CTKey{}), unsafe.Sizeof(CTEntry{})},
	MapServices:  {unsafe.Sizeof(ServiceKey{}), unsafe.Sizeof(Service{})},
	MapSlots:     {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Slots{})},
	MapBackends:  {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Backend{})},
	MapFrontends: {unsafe.Sizeof(uint32(0)), unsafe.Sizeof(Frontend{})},
}

func TestInnerMapsHaveTheSizesOfTheirGoTypes(t *testing.T) {
	spec, err := Spec("pod")
	if errors.Is(err, ErrNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range inner {
		m := spec.Maps[name].InnerMap
		if uintptr(m.KeySize) != want.key || uintptr(m.ValueSize) != want.value {
			t.Errorf("%s: key %d and value %d, its Go types %d and %d", name, m.KeySize, m.ValueSize, want.key, want.value)
		}
	}
}

func TestEveryMapHasTheSizesOfItsGoTypes(t *testing.T) {
	for _, object := range Objects {
		spec, err := Spec(object)
		if errors.Is(err, ErrNotBuilt) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, m := range spec.Maps {
			if !strings.HasPrefix(name, "weir_") {
				continue // the compiler's constants, among which is config
			}
			want, ok := goTypes[name]
			if !ok {
				t.Errorf("object %s: map %s has no Go type", object, name)
				continue
			}
			if uintptr(m.KeySize) != want.key || uintptr(m.ValueSize) != want.value {
				t.Errorf("object %s: map %s has key %d and value %d, its Go types %d and %d", object, name, m.KeySize, m.ValueSize, want.key, want.value)
			}
		}
		if v := spec.Variables["config"]; v == nil || uintptr(v.Size()) != unsafe.Sizeof(Config{}) {
			t.Errorf("object %s: no constant named config of %d octets", object, unsafe.Sizeof(Config{}))
		}
	}
}

// enum returns the values of an enum of layout.h as the objects know it, which
// may be fewer than layout.h has.
func enum(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	for _, object := range Objects {
		b, err := Object(object)
		if errors.Is(err, ErrNotBuilt) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		spec, err := btf.LoadSpecFromReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var e *btf.Enum
		if err := spec.TypeByName(name, &e); errors.Is(err, btf.ErrNotFound) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for _, v := range e.Values {
			out[v.Name] = v.Value
		}
	}
	return out
}

// generated returns the constants of a type in the generated file: the objects
// know only the enums they use.
func generated(t *testing.T, typ string) map[string]string {
	t.Helper()
	b, err := os.ReadFile("layout_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == typ && f[2] == "=" {
			out[f[0]] = f[3]
		}
	}
	if len(out) == 0 {
		t.Fatalf("layout_gen.go has no constant of type %s", typ)
	}
	return out
}

func TestEveryReasonAndPlaceHasAText(t *testing.T) {
	if got, want := len(reasonText), len(generated(t, "Reason")); got != want {
		t.Errorf("%d reasons have a text, layout.h has %d", got, want)
	}
	// None is no place.
	if got, want := len(placeText), len(generated(t, "Place"))-1; got != want {
		t.Errorf("%d places have a text, layout.h has %d", got, want)
	}
	texts := map[string]Reason{}
	for r, text := range reasonText {
		if other, twice := texts[text]; twice {
			t.Errorf("reasons %d and %d share the text %q", r, other, text)
		}
		texts[text] = r
		if uint32(r) >= uint32(Reasons) {
			t.Errorf("reason %d is beyond the counters", r)
		}
	}
	for name, value := range enum(t, "reason") {
		if drop := strings.HasPrefix(name, "DROP_"); drop != Reason(value).Drop() {
			t.Errorf("%s = %d: drops, and only they, are 130 and more", name, value)
		}
	}
	for p := range placeText {
		if uint32(p) >= uint32(Places) {
			t.Errorf("place %d is beyond the counters", p)
		}
	}
}

func TestAddrRoundTrips(t *testing.T) {
	for _, s := range []string{"0.0.0.0", "10.0.1.11", "255.255.255.255", "::1", "fe80::1", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		a := netip.MustParseAddr(s)
		if got := AddrFrom(a).Netip(); got != a {
			t.Errorf("%s: got %s", a, got)
		}
		if got := AddrFrom(a).String(); got != s {
			t.Errorf("%s as text: got %s", s, got)
		}
	}
	if got := AddrFrom(netip.Addr{}); got != (Addr{}) || got.Netip().IsValid() {
		t.Errorf("no address: got %v", got)
	}
	if a, b := AddrFrom(netip.MustParseAddr("::ffff:10.0.1.11")), AddrFrom(netip.MustParseAddr("10.0.1.11")); a != b {
		t.Errorf("a mapped address and its IPv4 address differ: %v, %v", a, b)
	}
}

func TestIPCacheKeyRoundTrips(t *testing.T) {
	for s, bits := range map[string]uint32{
		"0.0.0.0/0": 96, "10.0.0.0/8": 104, "10.0.1.0/24": 120, "10.0.1.11/32": 128,
		"::/0": 0, "::/96": 96, "fd00:1::/64": 64, "2001:db8::1/128": 128,
	} {
		p := netip.MustParsePrefix(s)
		k := IPCacheKeyFrom(p)
		if k.PrefixLen != bits {
			t.Errorf("%s: prefix length %d, want %d", s, k.PrefixLen, bits)
		}
		if got := k.Prefix(); got != p {
			t.Errorf("%s: got %s", s, got)
		}
	}
	// Host bits do not make another key.
	if a, b := IPCacheKeyFrom(netip.MustParsePrefix("10.0.1.77/24")), IPCacheKeyFrom(netip.MustParsePrefix("10.0.1.0/24")); a != b {
		t.Errorf("10.0.1.77/24 and 10.0.1.0/24 differ: %v, %v", a, b)
	}
	if IPCacheKeyFrom(netip.MustParsePrefix("0.0.0.0/0")) == IPCacheKeyFrom(netip.MustParsePrefix("::/0")) {
		t.Error("the whole of IPv4 and of IPv6 are one key")
	}
	// All of IPv4 mapped is all of IPv4, whichever way it is written.
	if got := (IPCacheKey{PrefixLen: 96, Addr: AddrFrom(netip.MustParseAddr("::ffff:0.0.0.0"))}).String(); got != "0.0.0.0/0" {
		t.Errorf("::ffff:0:0/96: got %s", got)
	}
}

func TestMappedPrefixIsItsIPv4Prefix(t *testing.T) {
	if got, want := IPCacheKeyFrom(netip.MustParsePrefix("::ffff:10.0.1.0/120")), IPCacheKeyFrom(netip.MustParsePrefix("10.0.1.0/24")); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGeneratedFileIsUpToDate(t *testing.T) {
	clang, err := exec.LookPath("clang")
	if err != nil {
		t.Skip("needs clang to compile layout.h")
	}
	object := filepath.Join(t.TempDir(), "layout.o")
	args := []string{"-g", "-O2", "-target", "bpf", "-mcpu=v3", "-I", "include", "-I", ".", "-c", "gen/layout.c", "-o", object}
	for _, dir := range asmFolders(t) {
		args = append(args, "-isystem", dir)
	}
	if out, err := exec.Command(clang, args...).CombinedOutput(); err != nil {
		t.Fatalf("compile layout.h: %v\n%s", err, out)
	}
	got, err := exec.Command("go", "run", "./gen", object).Output()
	if err != nil {
		t.Fatalf("generate: %v", err)
	}
	want, err := os.ReadFile("layout_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("layout_gen.go does not match layout.h: run make generate")
	}
}

// asmFolders are where distributions put asm/types.h, which the kernel's
// headers need.
func asmFolders(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("/usr/include/*-linux-gnu")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestKeysOfServicesReadAsPeopleWriteThem(t *testing.T) {
	for text, proto := range map[string]uint8{"172.18.0.2:32000/TCP": 6, "0.0.0.0:32000/UDP": 17, "[::]:32000/SCTP": 132, "[fd00::1]:53/99": 99} {
		at := netip.MustParseAddrPort(text[:strings.LastIndex(text, "/")])
		if got := ServiceKeyFrom(at, proto); got.String() != text || got.AddrPort() != at {
			t.Errorf("%s became %s", text, got)
		}
	}
	if a, b := ServiceKeyFrom(netip.MustParseAddrPort("0.0.0.0:1"), 6), ServiceKeyFrom(netip.MustParseAddrPort("[::]:1"), 6); a == b {
		t.Error("every IPv4 address and every IPv6 address have the same key")
	}
	if got := SourceRangeFrom(7, netip.MustParsePrefix("10.1.0.0/16")); got.PrefixLen != 32+96+16 || got.String() != "service=7 10.1.0.0/16" {
		t.Errorf("a range became %+v", got)
	}
}
