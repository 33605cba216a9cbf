package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Attachment is one program at one hook of one device.
type Attachment struct {
	Device  string
	Ifindex int
	Program string
	Egress  bool    // the device's egress; otherwise its ingress
	XDP     XDPMode // before either; zero: it is one of them
	Folder  string  // of the tree, where the link is pinned
}

func (a Attachment) pin() string { return filepath.Join(a.Folder, a.Program) }

func (a Attachment) hook() ebpf.AttachType {
	if a.Egress {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

// Direction is "ingress" or "egress", as the device sees it.
func (a Attachment) Direction() string {
	if a.Egress && a.XDP == "" {
		return "egress"
	}
	return "ingress"
}

// Attach puts a loaded program on a hook, or moves what is there over to it,
// and remembers it: the next Load moves it again. Doing it twice changes nothing.
func (d *Datapath) Attach(a Attachment) error {
	return d.attachBy(a, d.attach)
}

// AttachQuick is Attach without the wait that a tcx link costs when it is made:
// the kernel sees a grace period through, with the lock of all its network
// configuration held, 14 ms on a quiet machine. A clsact filter is in force at
// once; a later Attach makes the link and then takes the filter off. In between,
// for the length of that wait, both are on the hook, and a packet that the link
// lets on is judged and counted by the filter, too, to the same end.
func (d *Datapath) AttachQuick(a Attachment) error {
	return d.attachBy(a, func(a Attachment) error {
		if p := d.programs[a.Program]; p != nil {
			return tcAttach(a, p)
		}
		return errNotLoaded
	})
}

func (d *Datapath) attachBy(a Attachment, how func(Attachment) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := how(a); err != nil {
		return fmt.Errorf("attach %s to %s %s: %w", a.Program, a.Device, a.Direction(), err)
	}
	d.listing.Lock()
	defer d.listing.Unlock()
	d.attached[a.pin()] = a
	return nil
}

var errNotLoaded = errors.New("no such program is loaded")

// Detach takes a program off. One that is not there is not an error.
func (d *Datapath) Detach(a Attachment) error {
	d.listing.Lock()
	delete(d.attached, a.pin())
	d.listing.Unlock()
	if a.XDP == "" {
		if err := tcDetach(a); err != nil {
			return fmt.Errorf("detach %s from %s: %w", a.Program, a.Device, err)
		}
	}
	if err := os.RemoveAll(a.pin()); err != nil {
		return fmt.Errorf("remove pin: %w", err)
	}
	if left, err := os.ReadDir(a.Folder); err == nil && len(left) == 0 {
		os.Remove(a.Folder)
	}
	return nil
}

// all returns what is attached.
func (d *Datapath) all() []Attachment {
	d.listing.Lock()
	defer d.listing.Unlock()
	return slices.Collect(maps.Values(d.attached))
}

func (d *Datapath) attach(a Attachment) error {
	p := d.programs[a.Program]
	if p == nil {
		return errNotLoaded
	}
	if err := os.MkdirAll(a.Folder, 0o700); err != nil {
		return fmt.Errorf("make folder on bpffs: %w", err)
	}
	if a.XDP != "" {
		return xdpAttach(a, p)
	}
	if d.mode == AttachTC {
		if err := tcAttach(a, p); err != nil {
			return err
		}
		// A link of an agent in tcx mode would run first, and for ever the same.
		if err := os.Remove(a.pin()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take off the link of tcx mode: %w", err)
		}
		return nil
	}
	if err := tcxAttach(a, p); err != nil {
		return err
	}
	return tcDetach(a) // of AttachQuick
}

// tcxAttach adopts the pinned link, or makes one. A link whose device was made
// anew is dead and is replaced.
func tcxAttach(a Attachment, p *ebpf.Program) error {
	l, err := link.LoadPinnedLink(a.pin(), nil)
	if err == nil {
		defer l.Close()
		if ifindex, id := tcxInfo(l); ifindex == a.Ifindex {
			if want, _ := programID(p); want == id {
				return nil
			}
			return l.Update(p)
		}
		os.Remove(a.pin())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: %w", a.pin(), err)
	}
	l, err = link.AttachTCX(link.TCXOptions{Interface: a.Ifindex, Program: p, Attach: a.hook()})
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Pin(a.pin()); err != nil {
		return fmt.Errorf("pin link at %s: %w", a.pin(), err)
	}
	return nil
}

// tcxInfo tells the device and program of a link; zeroes when it is dead or of
// another kind.
func tcxInfo(l link.Link) (ifindex int, program ebpf.ProgramID) {
	info, err := l.Info()
	if err != nil || info.TCX() == nil {
		return 0, 0
	}
	return int(info.TCX().Ifindex), info.Program
}

func programID(p *ebpf.Program) (ebpf.ProgramID, error) {
	info, err := p.Info()
	if err != nil {
		return 0, err
	}
	id, _ := info.ID()
	return id, nil
}

// reattach moves every attachment to the programs as they are loaded.
func (d *Datapath) reattach() error {
	var errs []error
	for _, a := range d.all() {
		err := d.attach(a)
		if err == nil {
			continue
		}
		if gone(a) { // whoever makes the device again attaches to it again
			d.forget(a)
			continue
		}
		errs = append(errs, fmt.Errorf("move %s on %s: %w", a.Program, a.Device, err))
	}
	return errors.Join(errs...)
}

// gone reports whether the attachment's device is no more.
func gone(a Attachment) bool {
	dev, err := net.InterfaceByIndex(a.Ifindex)
	return err != nil || dev.Name != a.Device
}

// forget drops an attachment whose device is gone, and the dead link's pin.
func (d *Datapath) forget(a Attachment) {
	d.listing.Lock()
	delete(d.attached, a.pin())
	d.listing.Unlock()
	if err := os.Remove(a.pin()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("pin of a dead link stays", "pin", a.pin(), "err", err)
	}
}

// Attached is an attachment as the kernel has it.
type Attached struct {
	Attachment
	ProgramID uint32
	Kind      AttachMode // how it is there: a filter in tcx mode is one of AttachQuick
	Err       error      // why it is not in force
}

// Attachments asks the kernel for the state of every attachment.
func (d *Datapath) Attachments() []Attached {
	var out []Attached
	for _, a := range d.all() {
		got := Attached{Attachment: a, Kind: d.mode}
		if a.XDP != "" {
			got.Kind, got.ProgramID, got.Err = xdpQuery(a)
			out = append(out, got)
			continue
		}
		if d.mode == AttachTCX {
			got.ProgramID, got.Err = tcxQuery(a)
		}
		if d.mode == AttachTC || got.Err != nil {
			if id, err := tcQuery(a); err == nil || d.mode == AttachTC {
				got.ProgramID, got.Kind, got.Err = id, AttachTC, err
			}
		}
		out = append(out, got)
	}
	return out
}

func tcxQuery(a Attachment) (uint32, error) {
	l, err := link.LoadPinnedLink(a.pin(), nil)
	if err != nil {
		return 0, fmt.Errorf("open link: %w", err)
	}
	defer l.Close()
	ifindex, id := tcxInfo(l)
	if ifindex != a.Ifindex {
		return 0, fmt.Errorf("its device %s is gone", a.Device)
	}
	return uint32(id), nil
}

// PruneEndpoints removes the links of endpoints for which keep says no.
func (d *Datapath) PruneEndpoints(keep func(id uint32) bool) error {
	return d.prune(filepath.Dir(d.tree.EndpointLinks(0)), func(name string) bool {
		var id uint32
		_, err := fmt.Sscan(name, &id)
		return err == nil && keep(id)
	})
}

// PruneDevices removes the links of devices for which keep says no. Names are
// as Tree.DeviceLinks writes them.
func (d *Datapath) PruneDevices(keep func(folder string) bool) error {
	return d.prune(filepath.Dir(d.tree.DeviceLinks("x")), keep)
}

func (d *Datapath) prune(dir string, keep func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list pinned links: %w", err)
	}
	gone := map[string]bool{}
	for _, e := range entries {
		if !keep(e.Name()) {
			gone[filepath.Join(dir, e.Name())] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	var errs []error
	for _, a := range d.all() {
		if gone[a.Folder] {
			errs = append(errs, d.Detach(a))
		}
	}
	// What an earlier agent attached is known by its device only.
	errs = append(errs, removeFilters(func(device string) bool { return gone[d.tree.DeviceLinks(device)] }))
	for folder := range gone {
		if err := os.RemoveAll(folder); err != nil {
			errs = append(errs, fmt.Errorf("remove stale links: %w", err))
		}
	}
	return errors.Join(errs...)
}
