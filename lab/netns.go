package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 looks for namespaces by name.
const netnsDir = "/run/netns"

// errForeign marks a thing at one of our names that this lab did not make.
var errForeign = errors.New("it was not made by this lab and is left alone")

func netnsPath(name string) string { return filepath.Join(netnsDir, name) }

// inside runs f on a thread that is in the network namespace at path. Whatever
// f starts or opens belongs to that namespace; goroutines that it makes do not.
func inside(path string, f func() error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return f()
	})
}

// onThread runs f on a thread whose namespace f may change. A thread that
// cannot be brought back ends with its goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1) // 1: the goroutine need not wait for its reader
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		err = f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// makeNetns makes a namespace with lo up and returns its inode. Something that
// has the name already is errForeign.
func makeNetns(name string) (uint64, error) {
	if err := PrepareNetnsDir(); err != nil {
		return 0, err
	}
	path := netnsPath(name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if errors.Is(err, os.ErrExist) {
		return 0, fmt.Errorf("network namespace %s exists already: %w (remove it with: ip netns del %s)", name, errForeign, name)
	}
	if err != nil {
		return 0, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace %s: %w", name, err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep network namespace at %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return 0, errors.Join(err, os.Remove(path))
	}
	return inode(path), nil
}

// PrepareNetnsDir makes the folder a shared mount of its own, as iproute2 does
// with the first `ip netns add`. If iproute2 did it later, it would copy every
// namespace that is mounted there by then, and none of these could be removed.
func PrepareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", netnsDir, err)
	}
	share := func() error { return unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err := share()
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s on itself: %w", netnsDir, err)
		}
		err = share()
	}
	if err != nil {
		return fmt.Errorf("share the mount %s: %w", netnsDir, err)
	}
	return nil
}

// removeNetns removes the namespace that makeNetns made; want is its inode, or
// 0 when the lab ended before it was written down. One that is gone is no error.
func removeNetns(name string, want uint64) error {
	path := netnsPath(name)
	var fs unix.Statfs_t
	err := unix.Statfs(path, &fs)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if fs.Type != unix.NSFS_MAGIC {
		return removeMountPoint(path)
	}
	if want != 0 && inode(path) != want {
		return fmt.Errorf("network namespace %s is not the one that was made under this name: %w", name, errForeign)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// removeMountPoint removes the empty file of a namespace that is not mounted.
func removeMountPoint(path string) error {
	st, err := os.Stat(path)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > 0) {
		return fmt.Errorf("%s is not a network namespace: %w", path, errForeign)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// inode identifies a namespace while it lives; 0 when there is none.
func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
