package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var noon = time.Unix(1_800_000_000, 0)

// gives is an answer of a name for an address.
func gives(name, ip string, ttl uint32) *Answer {
	return &Answer{name: name, IPs: []netip.Addr{addr(ip)}, TTL: ttl}
}

func (n *Names) list(client uint32, ip netip.Addr, now time.Time) []string {
	if s := n.Of(client, ip, now); s != nil {
		return s.Names
	}
	return nil
}

func (n *Names) want(t *testing.T, what string, client uint32, ip string, now time.Time, want ...string) {
	t.Helper()
	if got := n.list(client, addr(ip), now); !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestEachClientHasItsOwnNames(t *testing.T) {
	n := NewNames()
	n.Learn(1, gives("good.org", "192.0.2.1", 60), noon)
	n.Learn(2, gives("bad.org", "192.0.2.1", 60), noon)
	n.want(t, "one", 1, "192.0.2.1", noon, "good.org")
	n.want(t, "the other", 2, "192.0.2.1", noon, "bad.org")
	n.want(t, "nobody", 3, "192.0.2.1", noon)
	n.want(t, "another address", 1, "192.0.2.2", noon)
	n.Forget(1)
	n.Forget(9)
	n.want(t, "one that is forgotten", 1, "192.0.2.1", noon)
	n.want(t, "the other, still", 2, "192.0.2.1", noon, "bad.org")
}

func TestAnAddressHasItsLatestNamesFirst(t *testing.T) {
	n := NewNames()
	for _, name := range []string{"a", "b", "c", "d", "e", "b"} {
		n.Learn(1, gives(name, "2001:db8::1", 60), noon)
	}
	n.want(t, "five of them", 1, "2001:db8::1", noon, "b", "e", "d", "c")
	given := n.list(1, addr("2001:db8::1"), noon)
	n.Learn(1, gives("f", "2001:db8::1", 60), noon)
	if !slices.Equal(given, []string{"b", "e", "d", "c"}) {
		t.Errorf("a list that was given out is %v now", given)
	}
}

func TestNamesEndUnlessTheyAreUsed(t *testing.T) {
	n := NewNames()
	n.Learn(1, gives("short", "192.0.2.1", 0), noon)
	n.Learn(1, gives("used", "192.0.2.2", 5), noon)
	n.Learn(1, gives("long", "192.0.2.3", 3600), noon)
	n.Learn(1, gives("endless", "192.0.2.4", 1<<31), noon)
	n.Learn(1, gives("old", "192.0.2.5", 0), noon)
	n.Learn(1, gives("young", "192.0.2.5", 900), noon)
	at := noon
	for range 60 {
		at = at.Add(time.Minute)
		n.want(t, "one that is used", 1, "192.0.2.2", at, "used")
		if at.Sub(noon) == 4*time.Minute {
			n.want(t, "both", 1, "192.0.2.5", at, "young", "old")
		}
		if at.Sub(noon) == 6*time.Minute {
			n.want(t, "one of both", 1, "192.0.2.5", at, "young")
		}
	}
	n.want(t, "one with a lifetime of nothing", 1, "192.0.2.1", at)
	n.want(t, "one of an hour", 1, "192.0.2.3", at, "long")
	n.want(t, "one for ever", 1, "192.0.2.4", noon.Add(25*time.Hour))
}

func TestRoomIsBounded(t *testing.T) {
	n := NewNames()
	ip := func(i int) string { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String() }
	n.Learn(1, gives("first", ip(0), 60), noon)
	for i := range 3 * maxAddresses {
		n.Learn(2, gives(fmt.Sprint(i), ip(i), 60), noon)
	}
	if n.Len() != maxOfClient+1 {
		t.Errorf("%d addresses, want %d", n.Len(), maxOfClient+1)
	}
	n.want(t, "another's, which a client cannot push out", 1, ip(0), noon, "first")
	n.want(t, "the latest", 2, ip(3*maxAddresses-1), noon, fmt.Sprint(3*maxAddresses-1))
	for c := range uint32(8) {
		for i := range maxOfClient {
			n.Learn(10+c, gives("x", ip(i), 60), noon)
		}
	}
	if n.Len() != maxAddresses || len(n.clients) != maxAddresses/maxOfClient {
		t.Errorf("%d addresses of %d clients", n.Len(), len(n.clients))
	}
	n.want(t, "the oldest, which nobody used", 2, ip(3*maxAddresses-1), noon)
	for c := range uint32(40) {
		n.Forget(c)
	}
	if n.Len() != 0 || len(n.clients) != 0 || n.used.Len() != 0 {
		t.Errorf("after all was forgotten: %d of %d clients", n.Len(), len(n.clients))
	}
}

// One client that fills its room alone must not lose itself.
func TestAClientThatPushesItselfOutIsStillThere(t *testing.T) {
	n := NewNames()
	for i := range 2 * maxAddresses {
		n.Learn(uint32(i), gives("x", "192.0.2.1", 60), noon)
		n.want(t, "at once", uint32(i), "192.0.2.1", noon, "x")
	}
	if n.Len() != maxAddresses || len(n.clients) != maxAddresses {
		t.Errorf("%d addresses of %d clients", n.Len(), len(n.clients))
	}
}

func BenchmarkOf(b *testing.B) {
	n := NewNames()
	for i := range 1000 {
		n.Learn(1, gives("example.org", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String(), 60), noon)
	}
	ip := addr("10.0.1.1")
	b.ReportAllocs()
	for b.Loop() {
		n.Of(1, ip, noon)
	}
}
