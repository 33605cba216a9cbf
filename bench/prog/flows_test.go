package prog

import (
	"os"
	"testing"

	"weir/bpf"
)

// withFlows runs f with a node of its own.
func withFlows(t *testing.T, f func(*Flows) error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loads programs, which takes root")
	}
	b, err := Make("bchtest", t.TempDir())
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	flows, err := b.MakeFlows(t.TempDir(), 1<<15)
	t.Cleanup(func() {
		if err := flows.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Inside(func() error { return f(flows) }); err != nil {
		t.Fatal(err)
	}
}

func TestEveryPacketOfARunIsOfTheFlowThatThePickerSays(t *testing.T) {
	const flows = 2500 // more than there are destinations
	withFlows(t, func(f *Flows) error {
		for _, w := range f.Ways {
			if err := f.Open(w, flows); err != nil {
				return err
			}
			seen := map[uint32]bool{}
			_, err := f.node.datapath.CT.Each(func(k bpf.CTKey, e bpf.CTEntry) {
				seen[w.number(k)] = true
				if e.Packets[0] != 1 {
					t.Errorf("%s: %s has %d packets, want 1", w.Name, k, e.Packets[0])
				}
			})
			if err != nil {
				return err
			}
			for n := range uint32(flows) {
				if !seen[n] {
					t.Fatalf("%s: no connection has number %d; there are %d", w.Name, n, len(seen))
				}
			}
		}
		return nil
	})
}

// With every policy taken out of force, and the epochs as they were, nothing but
// an entry lets a packet pass.
func TestEstablishedPacketsAreDecidedByTheirEntries(t *testing.T) {
	withFlows(t, func(f *Flows) error {
		if err := f.Enforce(100); err != nil {
			return err
		}
		for _, w := range f.Ways {
			if err := f.Open(w, 500); err != nil {
				return err
			}
			restore, err := f.unjudge()
			if err != nil {
				return err
			}
			if _, err := f.First(w, 10); err == nil {
				t.Errorf("%s: a first packet passes without a policy", w.Name)
			}
			if err := restore(); err != nil {
				return err
			}
			if err := f.Open(w, 500); err != nil {
				return err
			}
			if restore, err = f.unjudge(); err != nil {
				return err
			}
			if _, err := f.Established(w, 500, 20000); err != nil {
				t.Errorf("%s: %v", w.Name, err)
			}
			if err := restore(); err != nil {
				return err
			}
		}
		return nil
	})
}

// unjudge takes the policies of all endpoints out of force.
func (f *Flows) unjudge() (restore func() error, err error) {
	m := f.node.maps[bpf.MapPolicy]
	were := map[uint32]bpf.Policy{}
	for id := uint32(1); id <= neighbours+1; id++ {
		var p bpf.Policy
		if err := m.Lookup(id, &p); err != nil {
			return nil, err
		}
		were[id] = p
		p.PolicyClass = 0
		if err := m.Put(id, p); err != nil {
			return nil, err
		}
	}
	return func() error {
		for id, p := range were {
			if err := m.Put(id, p); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func TestASweepDeletesWhatIsIdleAndCountsWhatWasUsedMeanwhile(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections to become idle")
	}
	withFlows(t, func(f *Flows) error {
		const flows = 20000
		s, err := f.Sweeps(f.Ways[0], flows)
		if err != nil {
			return err
		}
		if s.Busy.Deleted != 0 || s.Mark.Deleted != 0 || s.Half.Deleted != flows/2 {
			t.Errorf("deleted %d, %d and %d, want 0, 0 and %d", s.Busy.Deleted, s.Mark.Deleted, s.Half.Deleted, flows/2)
		}
		if r := s.Racing; r.Used == 0 || r.Spared > r.Used || r.Lost != 0 {
			t.Errorf("%d used, %d of them spared, %d lost", r.Used, r.Spared, r.Lost)
		}
		return nil
	})
}
