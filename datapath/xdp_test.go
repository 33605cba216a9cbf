package datapath

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

// xdpAt is from_xdp on a device.
func xdpAt(t *testing.T, d *Datapath, name string, mode XDPMode) Attachment {
	t.Helper()
	return Attachment{Device: name, Ifindex: linktest.Link(t, name).Attrs().Index, Program: bpf.ProgFromXDP, XDP: mode, Folder: d.Tree().DeviceLinks(name)}
}

// xdpNode is a loaded datapath, with a veth, whose driver knows XDP, and a
// bridge, whose does not.
func xdpNode(t *testing.T) *Datapath {
	t.Helper()
	linktest.Enter(t)
	d := start(t, small(bpffs(t), AttachTCX))
	load(t, d, bpf.Config{IPv4: 1})
	pair := netlink.NewVeth(netlink.NewLinkAttrs())
	pair.Name, pair.PeerName = "eth7", "eth8"
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br7"}}
	for _, l := range []netlink.Link{pair, bridge} {
		if err := netlink.LinkAdd(l); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func wantXDP(t *testing.T, d *Datapath, device string, kind AttachMode) {
	t.Helper()
	if kind == "" { // a link goes a moment after its pin
		linktest.Eventually(t, 5*time.Second, "no XDP program on "+device, func() bool {
			_, id, err := xdpState(linktest.Link(t, device).Attrs().Index)
			return err == nil && id == 0
		})
	}
	got, id, err := xdpState(linktest.Link(t, device).Attrs().Index)
	if err != nil || got != kind || (id == 0) != (kind == "") {
		t.Errorf("%s: %q, program %d, %v; want %q", device, got, id, err, kind)
	}
	for _, a := range d.Attachments() {
		if kind != "" && a.XDP != "" && a.Device == device && (a.Err != nil || a.Kind != kind || a.ProgramID != id) {
			t.Errorf("%s: listed as %q, program %d, %v; want %q, %d", device, a.Kind, a.ProgramID, a.Err, kind, id)
		}
	}
}

func TestXDPIsTheDriversOrTheKernelsInItsPlace(t *testing.T) {
	d := xdpNode(t)
	native, none := xdpAt(t, d, "eth7", XDPNative), xdpAt(t, d, "br7", XDPNative)
	if err := d.Attach(native); err != nil {
		t.Fatal(err)
	}
	wantXDP(t, d, "eth7", AttachXDPNative)
	if err := d.Attach(none); err == nil || !strings.Contains(err.Error(), "set loadBalancer.acceleration to best-effort or disabled") {
		t.Errorf("a bridge, native: %v", err)
	}
	wantXDP(t, d, "br7", "")
	effort := none
	effort.XDP = XDPBestEffort
	if err := d.Attach(effort); err != nil {
		t.Fatal(err)
	}
	wantXDP(t, d, "br7", AttachXDPGeneric)
	if err := d.Attach(none); err == nil { // the setting was changed: the kernel's is not what is wanted
		t.Error("a bridge is native, after it was generic")
	}
	wantXDP(t, d, "br7", "")
	for range 2 { // twice is fine
		if err := d.Detach(native); err != nil {
			t.Error(err)
		}
	}
	wantXDP(t, d, "eth7", "")
	if _, err := os.Stat(native.pin()); !os.IsNotExist(err) {
		t.Errorf("the pin is there still: %v", err)
	}
}

// Another agent adopts the link; other constants move it over, and it stays one.
func TestXDPLinkIsAdoptedAndMovedOver(t *testing.T) {
	d := xdpNode(t)
	a := xdpAt(t, d, "eth7", XDPNative)
	if err := d.Attach(a); err != nil {
		t.Fatal(err)
	}
	id := linkID(t, a)
	if err := d.Attach(a); err != nil || linkID(t, a) != id {
		t.Errorf("attached twice: link %d, want %d, %v", linkID(t, a), id, err)
	}
	before := programIDs(t, d)[bpf.ProgFromXDP]
	load(t, d, bpf.Config{IPv4: 1, IPv6: 1})
	after := programIDs(t, d)[bpf.ProgFromXDP]
	if _, running, _ := xdpState(a.Ifindex); before == after || running != uint32(after) || linkID(t, a) != id {
		t.Errorf("program %d runs on link %d; it was %d, is %d on link %d", running, linkID(t, a), before, after, id)
	}
}

func TestXDPLeavesTheProgramOfSomebodyElse(t *testing.T) {
	d := xdpNode(t)
	a := xdpAt(t, d, "eth7", XDPBestEffort)
	theirs, err := link.AttachXDP(link.XDPOptions{Program: d.programs[bpf.ProgFromXDP], Interface: a.Ifindex})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := d.Attach(a); err == nil || !strings.Contains(err.Error(), "an XDP program of somebody else is there; it is left untouched") {
		t.Errorf("attached beside another: %v", err)
	}
	if info, err := theirs.Info(); err != nil || int(info.XDP().Ifindex) != a.Ifindex {
		t.Errorf("theirs is gone: %+v, %v", info, err)
	}
}

// The tree is all there is of it: without it nothing runs.
func TestXDPEndsWithItsPins(t *testing.T) {
	d := xdpNode(t)
	if err := d.Attach(xdpAt(t, d, "eth7", XDPNative)); err != nil {
		t.Fatal(err)
	}
	if err := d.PruneDevices(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	wantXDP(t, d, "eth7", "")
	if err := d.Attach(xdpAt(t, d, "eth7", XDPNative)); err != nil {
		t.Fatal(err)
	}
	if err := d.Tree().Remove(); err != nil {
		t.Fatal(err)
	}
	wantXDP(t, d, "eth7", "")
}
