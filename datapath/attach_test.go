package datapath

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/datapath/link/linktest"
)

func linkID(t *testing.T, a Attachment) link.ID {
	t.Helper()
	l, err := link.LoadPinnedLink(a.pin(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.ID
}

func programIDs(t *testing.T, d *Datapath) map[string]ebpf.ProgramID {
	t.Helper()
	out := map[string]ebpf.ProgramID{}
	for name := range d.programs {
		p, err := ebpf.LoadPinnedProgram(d.Tree().Program(name), nil)
		if err != nil {
			t.Fatal(err)
		}
		if out[name], err = programID(p); err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	return out
}

// modes runs a test once for each way of attaching, in a namespace of its own.
func modes(t *testing.T, f func(t *testing.T, d *Datapath, a Attachment)) {
	for _, mode := range []AttachMode{AttachTCX, AttachTC} {
		t.Run(string(mode), func(t *testing.T) {
			linktest.Enter(t)
			d := start(t, small(bpffs(t), mode))
			if d.Mode() != mode {
				t.Fatalf("mode %s, want %s", d.Mode(), mode)
			}
			load(t, d, bpf.Config{IPv4: 1})
			f(t, d, device(t, d, "eth7"))
		})
	}
}

// hooked is the ids of the programs on the device's ingress, in their order.
func hooked(t *testing.T, d *Datapath, a Attachment) (out []ebpf.ProgramID) {
	t.Helper()
	if d.Mode() == AttachTCX {
		r, err := link.QueryPrograms(link.QueryOptions{Target: a.Ifindex, Attach: a.hook()})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Programs {
			out = append(out, p.ID)
		}
		return out
	}
	filters, err := netlink.FilterList(linktest.Link(t, a.Device), tcParent(a))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok {
			out = append(out, ebpf.ProgramID(b.Id))
		}
	}
	return out
}

// empty waits until nothing is at the hook: the kernel frees a link whose pin
// is gone a moment later.
func empty(t *testing.T, d *Datapath, a Attachment) {
	t.Helper()
	linktest.Eventually(t, 5*time.Second, "nothing at "+a.Device, func() bool { return len(hooked(t, d, a)) == 0 })
}

func sees(t *testing.T, d *Datapath, a Attachment, what string) {
	t.Helper()
	before := passed(t, d)
	send(t, a.Device, 3)
	linktest.Eventually(t, 5*time.Second, what, func() bool { return passed(t, d) == before+3 })
}

// Seed rows F1 and F6.
func TestAttachingTwiceIsAttachingOnce(t *testing.T) {
	modes(t, func(t *testing.T, d *Datapath, a Attachment) {
		for range 3 {
			attach(t, d, a)
		}
		if got, want := hooked(t, d, a), programIDs(t, d)[a.Program]; len(got) != 1 || got[0] != want {
			t.Errorf("programs %v at the hook, want only %d", got, want)
		}
		sees(t, d, a, "three packets seen once")
		for _, at := range d.Attachments() {
			if at.Err != nil || at.ProgramID == 0 {
				t.Errorf("%s: program %d, %v", at.Device, at.ProgramID, at.Err)
			}
		}
		for range 2 {
			if err := d.Detach(a); err != nil {
				t.Fatal(err)
			}
		}
		empty(t, d, a)
		if len(d.Attachments()) != 0 {
			t.Errorf("attachments %v after detaching", d.Attachments())
		}
	})
}

// Seed row F5: both hooks of a device are held at once.
func TestIngressAndEgressAreHeldSeparately(t *testing.T) {
	modes(t, func(t *testing.T, d *Datapath, a Attachment) {
		out := a
		out.Program, out.Egress = bpf.ProgToNetdev, true
		attach(t, d, a)
		attach(t, d, out)
		ids := programIDs(t, d)
		if got := hooked(t, d, a); len(got) != 1 || got[0] != ids[a.Program] {
			t.Errorf("ingress: programs %v, want %d", got, ids[a.Program])
		}
		if got := hooked(t, d, out); len(got) != 1 || got[0] != ids[out.Program] {
			t.Errorf("egress: programs %v, want %d", got, ids[out.Program])
		}
		if err := d.Detach(a); err != nil {
			t.Fatal(err)
		}
		if got := hooked(t, d, out); len(got) != 1 {
			t.Errorf("egress after detaching ingress: programs %v", got)
		}
	})
}

func TestRestartAdoptsProgramsAndLinks(t *testing.T) {
	modes(t, func(t *testing.T, d *Datapath, a Attachment) {
		attach(t, d, a)
		before, hook := programIDs(t, d), hooked(t, d, a)
		d.Close()
		next := start(t, small(filepath.Dir(d.Tree().Root()), d.Mode()))
		if n := load(t, next, bpf.Config{IPv4: 1}); n.Loaded != 0 || n.Adopted != len(before) {
			t.Errorf("%+v, want all %d programs adopted", n, len(before))
		}
		attach(t, next, a)
		for name, id := range programIDs(t, next) {
			if id != before[name] {
				t.Errorf("%s: program id %d, was %d", name, id, before[name])
			}
		}
		if got := hooked(t, next, a); len(got) != 1 || got[0] != hook[0] {
			t.Errorf("programs %v at the hook, were %v", got, hook)
		}
		sees(t, next, a, "packets seen after a restart")
	})
}

func TestOtherConstantsMoveProgramsWithoutAGap(t *testing.T) {
	modes(t, func(t *testing.T, d *Datapath, a Attachment) {
		attach(t, d, a)
		before := programIDs(t, d)
		var id link.ID
		if d.Mode() == AttachTCX {
			id = linkID(t, a)
		}
		if n := load(t, d, bpf.Config{IPv4: 1, IPv6: 1}); n.Adopted != 0 || n.Loaded != len(before) {
			t.Errorf("%+v, want all %d programs loaded", n, len(before))
		}
		after := programIDs(t, d)
		for name := range after {
			if after[name] == before[name] {
				t.Errorf("%s: program %d has the old constants", name, after[name])
			}
		}
		if got := hooked(t, d, a); len(got) != 1 || got[0] != after[a.Program] {
			t.Errorf("programs %v at the hook, want only %d", got, after[a.Program])
		}
		if d.Mode() == AttachTCX && linkID(t, a) != id {
			t.Errorf("link %d, was %d: there was a moment without a program", linkID(t, a), id)
		}
		if got := d.Config(); got.IPv6 != 1 {
			t.Errorf("config %+v is not what was loaded", got)
		}
		sees(t, d, a, "packets seen by the new program")
	})
}

// Seed row N1, on hooks.
func TestForeignTCXProgramRunsBesideOurs(t *testing.T) {
	modes(t, func(t *testing.T, d *Datapath, a Attachment) {
		theirs := newForeign(t, "theirs")
		l, err := link.AttachTCX(link.TCXOptions{Interface: a.Ifindex, Program: theirs.program, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		attach(t, d, a)
		sees(t, d, a, "packets seen beside a foreign program")
		if n := theirs.count(t); n != 3 {
			t.Errorf("the foreign program saw %d packets, want 3", n)
		}
		if err := d.Detach(a); err != nil {
			t.Fatal(err)
		}
		send(t, a.Device, 2)
		linktest.Eventually(t, 5*time.Second, "the foreign program going on", func() bool { return theirs.count(t) == 5 })
	})
}

func addFilter(t *testing.T, a Attachment, theirs foreign, priority uint16) {
	t.Helper()
	err := netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: a.Ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
	if err != nil {
		t.Fatal(err)
	}
	err = netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: a.Ifindex, Parent: tcParent(a), Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL},
		Fd:          theirs.program.FD(), Name: "theirs", DirectAction: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestForeignFilterRunsBesideOurs(t *testing.T) {
	modes(t, func(t *testing.T, d *Datapath, a Attachment) {
		theirs := newForeign(t, "theirs")
		addFilter(t, a, theirs, 10)
		for range 2 {
			attach(t, d, a)
		}
		sees(t, d, a, "packets seen beside a foreign filter")
		if n := theirs.count(t); n != 3 {
			t.Errorf("the foreign filter saw %d packets, want 3", n)
		}
		if err := d.Detach(a); err != nil {
			t.Fatal(err)
		}
		send(t, a.Device, 2)
		linktest.Eventually(t, 5*time.Second, "the foreign filter going on", func() bool { return theirs.count(t) == 5 })
	})
}

func TestForeignFilterInOurPlaceIsRefusedAndLeftAlone(t *testing.T) {
	linktest.Enter(t)
	d := start(t, small(bpffs(t), AttachTC))
	load(t, d, bpf.Config{})
	a := device(t, d, "eth7")
	theirs := newForeign(t, "theirs")
	addFilter(t, a, theirs, tcPriority)
	err := d.Attach(a)
	if err == nil || !strings.Contains(err.Error(), "theirs") || !strings.Contains(err.Error(), "eth7") {
		t.Errorf("got %v, want an error that names the filter and the device", err)
	}
	if err := d.Detach(a); err != nil {
		t.Fatal(err)
	}
	if got := hooked(t, d, a); len(got) != 1 || got[0] != theirs.id(t) {
		t.Errorf("programs %v at the hook, want theirs, %d", got, theirs.id(t))
	}
}

func TestDeviceMadeAnewIsAttachedAgain(t *testing.T) {
	modes(t, func(t *testing.T, d *Datapath, a Attachment) {
		attach(t, d, a)
		if err := netlink.LinkDel(linktest.Link(t, a.Device)); err != nil {
			t.Fatal(err)
		}
		for _, at := range d.Attachments() {
			if at.Err == nil {
				t.Errorf("attachment to a device that is gone is in force: %+v", at)
			}
		}
		again := device(t, d, a.Device)
		if again.Ifindex == a.Ifindex {
			t.Skip("the device has the index of the old one")
		}
		attach(t, d, again)
		sees(t, d, again, "packets seen on the new device")
		if n := len(d.Attachments()); n != 1 {
			t.Errorf("%d attachments, want 1", n)
		}
	})
}

func TestPruningKeepsWhatIsAskedFor(t *testing.T) {
	linktest.Enter(t)
	d := start(t, small(bpffs(t), AttachTCX))
	load(t, d, bpf.Config{})
	kept, gone := device(t, d, "eth7"), device(t, d, "eth8.5")
	pod, left := device(t, d, "pod7"), device(t, d, "pod8")
	pod.Folder, left.Folder = d.Tree().EndpointLinks(7), d.Tree().EndpointLinks(8)
	for _, a := range []Attachment{kept, gone, pod, left} {
		attach(t, d, a)
	}
	if err := d.PruneDevices(func(folder string) bool { return folder == "eth7" }); err != nil {
		t.Fatal(err)
	}
	if err := d.PruneEndpoints(func(id uint32) bool { return id == 7 }); err != nil {
		t.Fatal(err)
	}
	empty(t, d, gone)
	empty(t, d, left)
	for a, want := range map[Attachment]int{kept: 1, gone: 0, pod: 1, left: 0} {
		if got := hooked(t, d, a); len(got) != want {
			t.Errorf("%s: %d programs at the hook, want %d", a.Device, len(got), want)
		}
		if _, err := os.Stat(a.Folder); (err == nil) != (want == 1) {
			t.Errorf("%s: folder of links: %v", a.Device, err)
		}
	}
	if n := len(d.Attachments()); n != 2 {
		t.Errorf("%d attachments remembered, want 2", n)
	}
	load(t, d, bpf.Config{IPv4: 1}) // moves what is left, and only that
	if got := hooked(t, d, gone); len(got) != 0 {
		t.Errorf("a pruned device got programs %v again", got)
	}
}
