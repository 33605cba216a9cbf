package masquerade

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"weir/bpf"
	"weir/datapath"
)

func mirror(t *testing.T, store *datapath.Memory[bpf.IPCacheKey, uint32]) *datapath.Mirror[bpf.IPCacheKey, uint32] {
	t.Helper()
	m, err := datapath.OpenMirror(bpf.MapUnmasqueraded, store)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// rows is what the programs find.
func rows(t *testing.T, store *datapath.Memory[bpf.IPCacheKey, uint32]) map[string]bpf.Masquerade {
	t.Helper()
	all, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bpf.Masquerade{}
	for k, v := range all {
		out[k.Prefix().String()] = bpf.Masquerade(v)
	}
	return out
}

func want(t *testing.T, store *datapath.Memory[bpf.IPCacheKey, uint32], want map[string]bpf.Masquerade) {
	t.Helper()
	got := rows(t, store)
	if len(got) != len(want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	for p, v := range want {
		if got[p] != v {
			t.Errorf("%s has %v, want %v", p, got[p], v)
		}
	}
}

func TestRowsAreOfTheFamiliesThatAreMasqueraded(t *testing.T) {
	for _, c := range []struct {
		v4, v6 bool
		want   map[string]bpf.Masquerade
	}{
		{true, true, map[string]bpf.Masquerade{"10.0.0.0/8": bpf.MasqueradeIPv4, "::/0": bpf.MasqueradeIPv6, "172.16.0.0/12": bpf.MasqueradeIPv4}},
		{true, false, map[string]bpf.Masquerade{"10.0.0.0/8": bpf.MasqueradeIPv4, "172.16.0.0/12": bpf.MasqueradeIPv4}},
		{false, true, map[string]bpf.Masquerade{"::/0": bpf.MasqueradeIPv6}},
		{false, false, nil},
	} {
		store := &datapath.Memory[bpf.IPCacheKey, uint32]{}
		ctl := New(slog.Default(), Options{IPv4: c.v4, IPv6: c.v6, Native: prefixes("10.0.0.0/8", "::/0"),
			Read: func() ([]netip.Prefix, error) { return prefixes("172.16.0.0/12", "10.0.0.0/8"), nil }}, mirror(t, store))
		if err := ctl.step(t.Context()); err != nil || !ctl.Ready().Synced() {
			t.Fatal(err, "or not ready")
		}
		want(t, store, c.want)
	}
}

// What cannot be read changes nothing: neither while the agent runs, nor over a
// restart, and programs do not wait for it.
func TestRulesThatCannotBeReadChangeNothing(t *testing.T) {
	store := &datapath.Memory[bpf.IPCacheKey, uint32]{}
	bad := errors.New("bad")
	var err error
	read := func() ([]netip.Prefix, error) { return prefixes("172.16.0.0/12"), err }
	options := Options{IPv4: true, Native: prefixes("10.0.0.0/8"), Read: read}
	all := map[string]bpf.Masquerade{"10.0.0.0/8": bpf.MasqueradeIPv4, "172.16.0.0/12": bpf.MasqueradeIPv4}
	ctl := New(slog.Default(), options, mirror(t, store))
	if err := ctl.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = bad
	if got := ctl.step(t.Context()); !errors.Is(got, bad) {
		t.Errorf("got %v", got)
	}
	want(t, store, all)
	ctl = New(slog.Default(), options, mirror(t, store))
	if got := ctl.step(t.Context()); !errors.Is(got, bad) || !ctl.Ready().Synced() {
		t.Errorf("after a restart: %v, ready %v", got, ctl.Ready().Synced())
	}
	want(t, store, all)
	err = nil
	writes := store.Writes
	if got := ctl.step(t.Context()); got != nil || store.Writes != writes {
		t.Errorf("mended: %v, %d writes", got, store.Writes-writes)
	}
}
