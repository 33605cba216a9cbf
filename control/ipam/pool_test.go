package ipam

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func newPool(t testing.TB, reserved []netip.Addr, cidrs ...string) *Pool {
	t.Helper()
	p := New("n1")
	if err := p.SetCIDRs(prefixes(cidrs...), reserved); err != nil {
		t.Fatal(err)
	}
	return p
}

// drain allocates until the pool is exhausted.
func drain(t testing.TB, p *Pool, f Family) ([]string, error) {
	t.Helper()
	var out []string
	for {
		a, err := p.Allocate(f)
		if err != nil {
			return out, err
		}
		out = append(out, a.String())
	}
}

func TestEveryUsableAddressOnce(t *testing.T) {
	tests := []struct {
		name     string
		family   Family
		cidrs    []string
		reserved []netip.Addr
		want     []string
	}{
		{"no network, no broadcast", IPv4, []string{"10.0.1.0/29"}, nil, []string{"10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6"}},
		{"no router, no health", IPv4, []string{"10.0.1.0/29"}, addrs("10.0.1.1", "10.0.1.2"), []string{"10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6"}},
		{"second CIDR after the first", IPv4, []string{"10.0.1.0/30", "fd00::/126", "10.0.9.0/30"}, nil, []string{"10.0.1.1", "10.0.1.2", "10.0.9.1", "10.0.9.2"}},
		{"no anycast address", IPv6, []string{"10.0.1.0/30", "fd00::/126"}, nil, []string{"fd00::1", "fd00::2", "fd00::3"}},
		{"pairs and single addresses", IPv4, []string{"10.0.1.2/31", "10.0.1.9/32"}, nil, []string{"10.0.1.2", "10.0.1.3", "10.0.1.9"}},
		{"end of the address space", IPv4, []string{"255.255.255.248/29"}, addrs("255.255.255.254"), []string{"255.255.255.249", "255.255.255.250", "255.255.255.251", "255.255.255.252", "255.255.255.253"}},
	}
	for _, tt := range tests {
		got, err := drain(t, newPool(t, tt.reserved, tt.cidrs...), tt.family)
		if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, ErrExhausted) {
			t.Errorf("%s: err %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

func TestAFreedAddressIsNotReusedAtOnce(t *testing.T) {
	p := newPool(t, nil, "10.0.1.0/28")
	first, _ := p.Allocate(IPv4)
	p.Release(first)
	for range 13 {
		if a, err := p.Allocate(IPv4); err != nil || a == first {
			t.Fatalf("got %v, %v before every other address was used", a, err)
		}
	}
	if a, err := p.Allocate(IPv4); err != nil || a != first {
		t.Errorf("got %v, %v, want %v at last", a, err, first)
	}
}

func TestExhaustedSaysHowFullAndTheWayOut(t *testing.T) {
	p := newPool(t, addrs("10.0.1.1"), "10.0.1.0/24")
	_, err := drain(t, p, IPv4)
	for _, want := range []string{"no free IPv4 address for node n1", "254 of 254 in 10.0.1.0/24 in use", "give the node another pod CIDR"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if _, err = p.Allocate(IPv6); !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "no IPv6 pod CIDR") {
		t.Errorf("IPv6: %v", err)
	}
}

func TestAClaimedAddressIsNotDealtOut(t *testing.T) {
	p := newPool(t, addrs("10.0.1.1"), "10.0.1.0/29")
	if err := p.Claim(netip.MustParseAddr("10.0.1.4")); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"10.0.1.4", "10.0.1.1"} {
		if err := p.Claim(netip.MustParseAddr(a)); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), a) {
			t.Errorf("claim %s: %v, want ErrTaken", a, err)
		}
	}
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("::ffff:10.0.1.5"), netip.MustParseAddr("fe80::1%eth0")} {
		if err := p.Claim(a); err == nil {
			t.Errorf("claim %v: no error", a)
		}
	}
	got, _ := drain(t, p, IPv4)
	if diff := cmp.Diff([]string{"10.0.1.5", "10.0.1.6", "10.0.1.2", "10.0.1.3"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddressesOutsideOfTheCIDRsStayClaimed(t *testing.T) {
	p := newPool(t, nil, "10.0.1.0/30")
	drain(t, p, IPv4)
	if err := p.SetCIDRs(prefixes("10.0.2.0/30"), addrs("10.0.2.1")); err != nil {
		t.Fatal(err)
	}
	if got, _ := drain(t, p, IPv4); !cmp.Equal(got, []string{"10.0.2.2"}) {
		t.Errorf("got %v, want 10.0.2.2 only", got)
	}
	p.Release(netip.MustParseAddr("10.0.1.1"))
	if err := p.SetCIDRs(prefixes("10.0.2.0/30", "10.0.1.0/30"), nil); err != nil {
		t.Fatal(err)
	}
	want := []Usage{{prefixes("10.0.2.0/30")[0], 1, 2}, {prefixes("10.0.1.0/30")[0], 1, 2}}
	if diff := cmp.Diff(want, p.Usage(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	if got, _ := drain(t, p, IPv4); !cmp.Equal(got, []string{"10.0.2.1", "10.0.1.1"}) {
		t.Errorf("got %v, want the two that are free", got)
	}
}

func TestBadCIDRsAreRefusedAndChangeNothing(t *testing.T) {
	p := newPool(t, nil, "10.0.1.0/24")
	for _, cidrs := range [][]netip.Prefix{prefixes("10.0.1.1/24"), prefixes("10.0.1.0/24", "10.0.0.0/16"), {{}}} {
		if err := p.SetCIDRs(cidrs, nil); err == nil {
			t.Errorf("%v: no error", cidrs)
		}
	}
	if got := p.Usage(); len(got) != 1 || got[0].Capacity != 254 {
		t.Errorf("usage = %+v", got)
	}
}

func TestHugeCIDRsCostNothing(t *testing.T) {
	p := newPool(t, nil, "fd00::/8", "10.0.0.0/8")
	for range 1000 {
		if _, err := p.Allocate(IPv6); err != nil {
			t.Fatal(err)
		}
	}
	got := p.Usage()
	if got[0].Allocated != 1000 || got[0].Capacity != math.MaxInt64 || got[1].Capacity != 1<<24-2 {
		t.Errorf("usage = %+v", got)
	}
}

func TestConcurrentAllocationsDiffer(t *testing.T) {
	p := newPool(t, nil, "10.0.0.0/20")
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := map[netip.Addr]bool{}
	for range 8 {
		wg.Go(func() {
			for range 200 {
				a, err := p.Allocate(IPv4)
				mu.Lock()
				if err != nil || seen[a] {
					t.Errorf("got %v twice, or %v", a, err)
				}
				seen[a] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// FuzzPool plays any sequence of calls against a set, the obvious model.
func FuzzPool(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 0, 3, 1, 0, 4, 0, 0, 0, 5, 6, 0, 1, 1})
	f.Add([]byte{0, 4, 8, 12, 16, 1, 5, 2, 6, 3, 7, 11, 0, 0})
	f.Fuzz(func(t *testing.T, calls []byte) {
		sets := [][]netip.Prefix{
			prefixes("10.0.1.0/29", "fd00::8/125"),
			prefixes("10.0.1.8/30", "10.0.1.0/29"),
			prefixes("10.0.1.0/28", "fd00::/124", "10.0.1.16/31"),
			nil,
		}
		reserved := [][]netip.Addr{addrs("10.0.1.1", "fd00::9"), nil, addrs("10.0.1.2", "10.0.1.3"), nil}
		p, now := newPool(t, reserved[0], "10.0.1.0/29", "fd00::8/125"), 0
		model := map[netip.Addr]bool{}
		for _, c := range calls {
			target := netip.AddrFrom4([4]byte{10, 0, 1, c >> 3})
			switch c & 7 {
			case 0, 1, 2, 3:
				fam := []Family{IPv4, IPv6}[c&1]
				a, err := p.Allocate(fam)
				checkAllocated(t, a, err, fam, model, reserved[now], sets[now])
			case 4:
				if err := p.Claim(target); err == nil {
					if model[target] || contains(reserved[now], target) {
						t.Fatalf("claimed %s, which was taken", target)
					}
					model[target] = true
				}
			case 5, 6:
				p.Release(target)
				delete(model, target)
			case 7:
				now = int(c>>3) % len(sets)
				if err := p.SetCIDRs(sets[now], reserved[now]); err != nil {
					t.Fatal(err)
				}
			}
			checkUsage(t, p, model, reserved[now])
		}
	})
}

func checkAllocated(t *testing.T, a netip.Addr, err error, f Family, model map[netip.Addr]bool, reserved []netip.Addr, set []netip.Prefix) {
	t.Helper()
	if err != nil {
		for _, c := range set {
			for b, x := newBlock(c), c.Addr(); familyOf(x) == f && c.Contains(x); x = x.Next() {
				if b.usable(x) && !model[x] && !contains(reserved, x) {
					t.Fatalf("%v, and %s is free", err, x)
				}
			}
		}
		return
	}
	if familyOf(a) != f || model[a] || contains(reserved, a) {
		t.Fatalf("allocated %s: another family, twice or reserved", a)
	}
	model[a] = true
}

func checkUsage(t *testing.T, p *Pool, model map[netip.Addr]bool, reserved []netip.Addr) {
	t.Helper()
	for _, u := range p.Usage() {
		want := uint64(0)
		for x, b := u.CIDR.Addr(), newBlock(u.CIDR); u.CIDR.Contains(x); x = x.Next() {
			if b.usable(x) && (model[x] || contains(reserved, x)) {
				want++
			}
		}
		if u.Allocated != want {
			t.Fatalf("%s: usage says %d, want %d", u.CIDR, u.Allocated, want)
		}
	}
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}

func BenchmarkAllocateRelease(b *testing.B) {
	p := newPool(b, nil, "10.0.1.0/24")
	for range 200 {
		p.Allocate(IPv4)
	}
	for b.Loop() {
		a, _ := p.Allocate(IPv4)
		p.Release(a)
	}
}

func TestNobodyGetsAnAddressThatIsWithheld(t *testing.T) {
	p := New("n1")
	one, two := netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("10.0.1.0/29")
	if err := p.SetCIDRs([]netip.Prefix{one, two}, nil); err != nil {
		t.Fatal(err)
	}
	had, err := p.Allocate(IPv4)
	if err != nil || !one.Contains(had) {
		t.Fatalf("%v, %v; want an address of %s", had, err, one)
	}
	p.Withhold(map[netip.Prefix]string{one: "overlaps 10.0.0.0/24 of node n2"})
	if a, err := p.Allocate(IPv4); err != nil || !two.Contains(a) {
		t.Errorf("%v, %v; want an address of %s", a, err, two)
	}
	p.Withhold(map[netip.Prefix]string{one: "overlaps 10.0.0.0/24 of node n2", two: "overlaps 10.0.0.0/8 of node n3"})
	if a, err := p.Allocate(IPv4); !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "10.0.0.0/29 overlaps 10.0.0.0/24 of node n2") {
		t.Errorf("%v, %v; want an error that names the other node", a, err)
	}
	if err := p.SetCIDRs([]netip.Prefix{one, two}, nil); err != nil || p.Usage()[0].Allocated != 1 {
		t.Errorf("%v, %+v; want one address in use still", err, p.Usage())
	}
	p.Withhold(nil)
	if a, err := p.Allocate(IPv4); err != nil || !one.Contains(a) || a == had {
		t.Errorf("%v, %v; want another address of %s", a, err, one)
	}
}
