package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// SocketLinks is the folder of the links of the programs that see sockets.
func (t Tree) SocketLinks() string { return filepath.Join(t.root, "links", "socketlb") }

// AttachSockets puts the programs that see sockets on a folder of cgroup v2, so
// that all processes below it find services, or moves what is there over to the
// programs as they are loaded. Doing it twice changes nothing.
func (d *Datapath) AttachSockets(cgroup string) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.attachSockets(cgroup); err != nil {
		return err
	}
	d.listing.Lock()
	defer d.listing.Unlock()
	d.cgroup = cgroup
	return nil
}

func (d *Datapath) attachSockets(cgroup string) error {
	id, err := cgroupID(cgroup)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.tree.SocketLinks(), 0o700); err != nil {
		return fmt.Errorf("make folder on bpffs: %w", err)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(bpf.SocketPrograms)) {
		if err := d.attachSocket(name, cgroup, id); err != nil {
			errs = append(errs, fmt.Errorf("attach %s to %s: %w", name, cgroup, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) attachSocket(name, cgroup string, id uint64) error {
	p := d.programs[name]
	if p == nil {
		return errNotLoaded
	}
	pin := filepath.Join(d.tree.SocketLinks(), name)
	l, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		defer l.Close()
		if at, program := cgroupInfo(l); at == id {
			if want, _ := programID(p); want == program {
				return nil
			}
			return l.Update(p)
		}
		os.Remove(pin) // of a cgroup that is no more, or not the one that is wanted
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: %w", pin, err)
	}
	l, err = link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: bpf.SocketPrograms[name], Program: p})
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin link at %s: %w", pin, err)
	}
	return nil
}

// DetachSockets takes the programs off. That they are not there is no error.
func (d *Datapath) DetachSockets() error {
	d.listing.Lock()
	d.cgroup = ""
	d.listing.Unlock()
	if err := os.RemoveAll(d.tree.SocketLinks()); err != nil {
		return fmt.Errorf("remove socket links: %w", err)
	}
	return nil
}

// reattachSockets moves the links to the programs as they are loaded.
func (d *Datapath) reattachSockets() error {
	d.listing.Lock()
	cgroup := d.cgroup
	d.listing.Unlock()
	if cgroup == "" {
		return nil
	}
	return d.attachSockets(cgroup)
}

// Sockets reports whether all programs that see sockets are attached, as the
// kernel has it.
func (d *Datapath) Sockets() bool {
	for name := range bpf.SocketPrograms {
		l, err := link.LoadPinnedLink(filepath.Join(d.tree.SocketLinks(), name), nil)
		if err != nil {
			return false
		}
		at, _ := cgroupInfo(l)
		l.Close()
		if at == 0 {
			return false
		}
	}
	return true
}

// cgroupInfo tells the cgroup and the program of a link; zeroes when it is dead
// or of another kind.
func cgroupInfo(l link.Link) (cgroup uint64, program ebpf.ProgramID) {
	info, err := l.Info()
	if err != nil || info.Cgroup() == nil {
		return 0, 0
	}
	return info.Cgroup().CgroupId, info.Program
}

// cgroupID is the kernel's number of a cgroup: that of its folder.
func cgroupID(path string) (uint64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("cgroupRoot: %w", err)
	}
	if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err != nil {
		return 0, fmt.Errorf("cgroupRoot %s is no folder of a cgroup file system", path)
	}
	return st.Sys().(*syscall.Stat_t).Ino, nil
}

// NetnsCookie is the kernel's number of this process's network namespace.
func NetnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("ask for the cookie of the network namespace (it needs Linux 5.14): %w", err)
	}
	return cookie, nil
}

// SetRetval reports whether programs that see sockets can say why a call fails;
// otherwise it fails with EPERM.
func SetRetval() bool {
	return features.HaveProgramHelper(ebpf.CGroupSockAddr, asm.FnSetRetval) == nil
}
