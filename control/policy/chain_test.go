package policy

import (
	"fmt"
	"strings"
	"testing"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// many is a policy with n rules, each with a selector of its own that the app
// web meets.
func many(name string, n int) state.Policy {
	p := allow(name, "db")
	for i := range n {
		p.Specs[0].Ingress = append(p.Specs[0].Ingress, state.PolicyRule{AnyPort: true, Peers: []state.PolicyPeer{{Kind: state.PeerEndpoints,
			Endpoints: state.Selector{{Key: "k8s:app", Op: state.In, Values: []string{fmt.Sprint(name, i), "web"}}}}}})
	}
	return p
}

// The programs follow a set over so many rows and no further: what would need
// one more is never written.
func TestAPolicyThatMakesASetTooLongIsRefused(t *testing.T) {
	r := newRig(t, Options{})
	r.identity(300, "web")
	r.identity(301, "db")
	r.endpoint(1, 301)
	r.tables.Policies.Put(many("full", most))
	r.step(t)
	if got := r.status("full"); got.State != StateInForce {
		t.Fatalf("%d selectors: %+v", most, got)
	}
	if n := r.rowsOf(t, 300); n != int(bpf.SetChain) {
		t.Errorf("the set has %d rows, want %d: the test asks nothing", n, bpf.SetChain)
	}
	r.tables.Policies.Put(many("more", 1))
	r.step(t)
	if got := r.status("more"); got.State != StateTooLarge || !strings.Contains(got.Message, fmt.Sprintf("more than %d selectors", most)) {
		t.Errorf("one more: %+v", got)
	}
	if got := r.status("full"); got.State != StateInForce {
		t.Errorf("what was in force: %+v", got)
	}
	if n := r.rowsOf(t, 300); n != int(bpf.SetChain) {
		t.Errorf("the set has %d rows, want %d", n, bpf.SetChain)
	}
	r.tables.Policies.Delete(many("full", 0).Key)
	r.step(t)
	if got := r.status("more"); got.State != StateInForce {
		t.Errorf("when there is room: %+v", got)
	}
}

// rowsOf counts the rows of weir_policy_sets of an identity, which must end.
func (r *rig) rowsOf(t *testing.T, id uint32) (n int) {
	t.Helper()
	peers, err := r.stores.Peers.(*datapath.Memory[uint32, uint32]).Load()
	if err != nil {
		t.Fatal(err)
	}
	sets, err := r.stores.Sets.(*datapath.Memory[uint32, bpf.PolicySet]).Load()
	if err != nil {
		t.Fatal(err)
	}
	for set := peers[id]; set != 0; set = uint32(sets[set].Next) {
		if n++; n > len(sets) {
			t.Fatal("the set has no end")
		}
	}
	return n
}
