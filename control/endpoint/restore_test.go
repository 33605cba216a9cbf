package endpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/state"
)

// claims is an Allocator that records who claims what.
type claims map[netip.Addr]bool

func (c claims) Allocate(bool) (netip.Addr, error) { return netip.Addr{}, errors.New("not here") }
func (c claims) Claim(a netip.Addr) error          { c[a] = true; return nil }
func (c claims) Release(a netip.Addr)              { delete(c, a) }

// control is a Control without a kernel: it restores and numbers.
func control(t *testing.T, slots int) (*Control, claims) {
	t.Helper()
	had := claims{}
	return New(slog.New(slog.DiscardHandler), Options{StateDir: t.TempDir(), Slots: slots, IPv4: true, IPv6: true}, state.New(), nil, had), had
}

// sample is an endpoint whose device is lo, which every namespace has.
func sample(t *testing.T, id state.EndpointID) state.Endpoint {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skip(err)
	}
	return state.Endpoint{
		ID: id, ContainerID: fmt.Sprint("c", id), Interface: "eth0", Netns: "/run/netns/x", NetnsCookie: 1 << 40,
		Pod: state.PodName{Namespace: "default", Name: "web"}, PodUID: "u1", Health: id == 2,
		IPv4: netip.AddrFrom4([4]byte{10, 0, 0, byte(id)}), IPv6: netip.MustParseAddr("fd00::9"), Device: "lo", Ifindex: lo.Index,
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, NodeMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, MTU: 1450,
		Identity: 300, Labels: state.Labels{"k8s:app=web", "k8s:x="}, State: state.EndpointReady,
	}
}

// Policy waits for the endpoints to have the identities of their pods, and
// programs wait for policy: so they get them while they are being restored.
func TestARestoredEndpointLearnsItsIdentityBeforeProgramsAreLoaded(t *testing.T) {
	c, _ := control(t, 8)
	for id, s := range map[state.EndpointID]state.EndpointState{1: state.EndpointRestoring, 3: state.EndpointReady} {
		e := sample(t, id)
		e.State = s
		c.tables.Endpoints.Put(e)
	}
	c.tables.Pods.Put(state.Pod{Name: web, Labels: map[string]string{"app": "other"}})
	c.tables.PodIdentities.Put(state.PodIdentity{Pod: web, ID: 301})
	for _, tt := range []struct {
		id    state.EndpointID
		want  state.IdentityID
		state state.EndpointState
	}{{1, 301, state.EndpointRestoring}, {3, 300, state.EndpointReady}} {
		c.introduceOne(tt.id)
		if e, _ := c.tables.Endpoints.Get(tt.id); e.Identity != tt.want || e.State != tt.state {
			t.Errorf("endpoint %d: identity %d, %s; want %d, %s", tt.id, e.Identity, e.State, tt.want, tt.state)
		}
	}
	if files, _ := loadAll(c.opts.StateDir); len(files) != 0 {
		t.Error("it wrote a file")
	}
}

func TestStateFileKeepsEveryField(t *testing.T) {
	dir := t.TempDir()
	full := sample(t, 2)
	four, six := sample(t, 3), sample(t, 4)
	four.IPv6, six.IPv4 = netip.Addr{}, netip.Addr{}
	want := []state.Endpoint{full, four, six}
	for range 2 { // the second time they replace themselves
		for _, e := range want {
			if err := save(dir, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := loadAll(dir)
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if st, err := os.Stat(file(dir, 2)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v %v, want mode 600", st, err)
	}
	for range 2 {
		if err := remove(dir, 2); err != nil {
			t.Error(err)
		}
	}
	if got, err := loadAll(dir); len(got) != 2 || err != nil {
		t.Errorf("after a removal: %d endpoints, %v; want 2", len(got), err)
	}
}

func TestCorruptedStateFileIsReportedAndTheOthersAreRestored(t *testing.T) {
	c, had := control(t, 64)
	good := sample(t, 5)
	if err := save(c.opts.StateDir, good); err != nil {
		t.Fatal(err)
	}
	bad := map[state.EndpointID]string{6: `{"id": 6, "device"`, 7: "", 8: `{"id": 8}`, 9: "\x00\x00", 10: `{"id": 10, "device": "x", "ipv4": "10.0.0"}`}
	for id, text := range bad {
		if err := os.WriteFile(file(c.opts.StateDir, id), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What a crash leaves of a file that was being written is passed over.
	if err := os.WriteFile(file(c.opts.StateDir, 11)+".tmp", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := c.Restore()
	for id := range bad {
		if !strings.Contains(fmt.Sprint(err), file(c.opts.StateDir, id)) {
			t.Errorf("error does not name %s: %v", file(c.opts.StateDir, id), err)
		}
		if _, err := os.Stat(file(c.opts.StateDir, id)); err != nil {
			t.Errorf("a file that cannot be read was taken away: %v", err)
		}
	}
	if strings.Contains(fmt.Sprint(err), ".tmp") {
		t.Errorf("a half written file was read: %v", err)
	}
	got, ok := c.tables.Endpoints.Get(5)
	good.State = state.EndpointRestoring
	if diff := cmp.Diff(good, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || !ok || c.tables.Endpoints.Len() != 1 {
		t.Errorf("%d endpoints (-want +got):\n%s", c.tables.Endpoints.Len(), diff)
	}
	if !had[good.IPv4] || !had[good.IPv6] {
		t.Errorf("claimed addresses: %v, want %s and %s", had, good.IPv4, good.IPv6)
	}
	if !c.tables.Endpoints.Synced() {
		t.Error("the table is not synced")
	}
}

func TestEndpointWhoseDeviceIsGoneIsDropped(t *testing.T) {
	for name, change := range map[string]func(*state.Endpoint){
		"no such device":     func(e *state.Endpoint) { e.Device = "weir-nowhere" },
		"another device":     func(e *state.Endpoint) { e.Ifindex += 1000 },
		"beyond the numbers": func(e *state.Endpoint) { e.ID = 64 },
	} {
		c, had := control(t, 64)
		e := sample(t, 5)
		change(&e)
		if err := errors.Join(save(c.opts.StateDir, e), c.Restore()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(file(c.opts.StateDir, e.ID)); !os.IsNotExist(err) {
			t.Errorf("%s: its file is left: %v", name, err)
		}
		if c.tables.Endpoints.Len() != 0 || len(had) != 0 {
			t.Errorf("%s: %d endpoints, claims %v; want none", name, c.tables.Endpoints.Len(), had)
		}
	}
}

func TestNumbersGoRoundAndRunOut(t *testing.T) {
	c, _ := control(t, 5) // 1 to 4
	take := func() state.EndpointID {
		t.Helper()
		id, err := c.number()
		if err != nil {
			t.Fatal(err)
		}
		c.used[id] = true
		return id
	}
	for want := state.EndpointID(1); want <= 2; want++ {
		if id := take(); id != want {
			t.Errorf("got %d, want %d", id, want)
		}
	}
	delete(c.used, 1)
	if id := take(); id != 3 {
		t.Errorf("got %d, want 3: a number that was just freed is not used at once", id)
	}
	if a, b := take(), take(); a != 4 || b != 1 {
		t.Errorf("got %d and %d, want 4 and, after going round, 1", a, b)
	}
	id, err := c.number()
	if !errors.Is(err, ErrExhausted) || !strings.Contains(fmt.Sprint(err), "all 4 are in use; raise bpf.endpoints") {
		t.Errorf("got %d, %v; want ErrExhausted with the way out", id, err)
	}
	delete(c.used, 3)
	if id := take(); id != 3 {
		t.Errorf("got %d, want the one that is free, 3", id)
	}
}

func TestRestoredNumbersAreNotGivenAgain(t *testing.T) {
	c, _ := control(t, 5)
	if err := errors.Join(save(c.opts.StateDir, sample(t, 1)), save(c.opts.StateDir, sample(t, 3)), c.Restore()); err != nil {
		t.Fatal(err)
	}
	if id, err := c.number(); id != 2 || err != nil {
		t.Errorf("got %d, %v; want 2", id, err)
	}
}

func TestDeviceNameFitsAndDependsOnTheAttachment(t *testing.T) {
	a, b := deviceName(Key{"c1", "eth0"}), deviceName(Key{"c1", "eth1"})
	if len(a) != 15 || !strings.HasPrefix(a, "weir") || a == b || a != deviceName(Key{"c1", "eth0"}) {
		t.Errorf("got %q and %q, want 15 letters each, weir first, different and stable", a, b)
	}
}

func TestAnAddThatADeleteOvertookIsRefused(t *testing.T) {
	c, _ := control(t, 8)
	k := Key{ContainerID: "c1", Interface: "eth0"}
	c.noteDelete(k, 100)
	if err := c.overtaken(Request{Key: k, Issued: 99}); !errors.Is(err, ErrNotReady) {
		t.Errorf("got %v for an ADD older than the DEL, want ErrNotReady", err)
	}
	if err := c.overtaken(Request{Key: k, Issued: 101}); err != nil {
		t.Errorf("got %v for an ADD younger than the DEL", err)
	}
	c.noteDelete(Key{ContainerID: "c2", Interface: "eth0"}, 101+remembered)
	if len(c.deletes) != 1 {
		t.Errorf("%d deletes remembered, want the last only", len(c.deletes))
	}
}
