// Package topo makes the namespaces, links and routes that the benchmark's
// paths consist of, and removes them.
//
// What an agent makes inside a node is its own.
package topo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weir/lab"
)

const dir = "/run/netns"

// Netns is a network namespace with a name that `ip netns` knows.
type Netns struct{ Name string }

// Path is where the namespace is bound.
func (n Netns) Path() string { return filepath.Join(dir, n.Name) }

// sysctls of every namespace: no waiting for duplicate address detection, and
// room for the connections that a benchmark opens and closes.
var sysctls = map[string]string{
	"ipv6/conf/all/accept_dad":     "0",
	"ipv6/conf/default/accept_dad": "0",
	"ipv4/tcp_tw_reuse":            "1",
	"ipv4/ip_local_port_range":     "10240 65000",
}

// Make makes the namespace and sets lo up. A name that is in use is an error.
func Make(name string) (Netns, error) {
	n := Netns{name}
	if err := lab.PrepareNetnsDir(); err != nil {
		return n, err
	}
	f, err := os.OpenFile(n.Path(), os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return n, fmt.Errorf("make network namespace %s: %w (left over? remove it with: ip netns del %s)", name, err, name)
	}
	f.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", n.Path(), "", unix.MS_BIND, "")
	})
	if err != nil {
		return n, fmt.Errorf("make network namespace %s: %w", name, errors.Join(err, os.Remove(n.Path())))
	}
	return n, errors.Join(n.Sysctls(sysctls), n.Do(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.LinkSetUp(lo)
	}))
}

// Forward makes a router of the namespace, which opens no connections itself: its
// range of ports is the kernel's default, as what masquerades needs the others.
func (n Netns) Forward() error {
	return n.Sysctls(map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/ip_local_port_range": "32768 60999"})
}

// Sysctls sets keys below net; those the kernel does not have are left out.
func (n Netns) Sysctls(set map[string]string) error {
	return n.Inside(func() error {
		for key, value := range set {
			err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("set sysctl net/%s in %s: %w", key, n.Name, err)
			}
		}
		return nil
	})
}

// Remove removes the namespace; one that is gone is no error.
func (n Netns) Remove() error {
	if n.Name == "" {
		return nil
	}
	err := unix.Unmount(n.Path(), unix.MNT_DETACH)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", n.Path(), err)
	}
	return os.Remove(n.Path())
}

// Do runs f with netlink in the namespace.
func (n Netns) Do(f func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPath(n.Path())
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", n.Name, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", n.Name, err)
	}
	defer h.Close()
	if err := f(h); err != nil {
		return fmt.Errorf("in %s: %w", n.Name, err)
	}
	return nil
}

// Inside runs f on a thread that is in the namespace; the processes it starts
// are born there.
func (n Netns) Inside(f func() error) error {
	ns, err := netns.GetFromPath(n.Path())
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", n.Name, err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it, whatever namespace it is in.
func onThread(f func() error) error {
	done := make(chan error, 1) // 1: the goroutine need not wait for its reader
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not used again
		done <- f()
	}()
	return <-done
}
