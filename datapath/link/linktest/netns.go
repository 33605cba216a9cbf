// Package linktest gives tests network namespaces of their own, so that they
// can make devices and routes without touching the host's.
//
// It contains no test, and nothing but tests may import it.
package linktest

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Enter moves the calling goroutine and its thread into an empty network
// namespace until the test ends, and skips the test when that needs root.
// Goroutines the test starts are elsewhere; see Go.
func Enter(t testing.TB) {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatalf("open own netns: %v", err)
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("make netns: %v", err)
	}
	t.Cleanup(func() {
		if err := netns.Set(home); err != nil {
			t.Errorf("go back to own netns: %v", err)
			return // the thread stays locked, and ends with the goroutine
		}
		home.Close()
		ns.Close()
		runtime.UnlockOSThread()
	})
	Up(t, "lo")
}

// Go runs f in another goroutine in the namespace the caller is in. The test
// waits for it at its end, so f must return when the test's context ends.
func Go(t testing.TB, f func()) {
	t.Helper()
	here, err := netns.Get()
	if err != nil {
		t.Fatalf("open netns: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer here.Close()
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(here); err != nil {
			t.Errorf("enter netns: %v", err)
			return
		}
		f()
	}()
	t.Cleanup(func() { <-done })
}

// New makes another empty network namespace, as a pod has one, and returns a
// path that leads to it until the test ends.
func New(t testing.TB) string {
	t.Helper()
	needRoot(t)
	made := make(chan netns.NsHandle)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.New()
		if err != nil {
			t.Errorf("make netns: %v", err)
			ns = netns.None()
		}
		made <- ns
	}()
	ns := <-made
	if !ns.IsOpen() {
		t.FailNow()
	}
	t.Cleanup(func() { ns.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns))
}

// In runs f in the namespace of path, on a thread of its own, and waits for it.
func In(t testing.TB, path string, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.GetFromPath(path)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("enter netns %s: %v", path, err)
	}
}

// Veth makes a pair of devices with the given addresses on the first, both up.
func Veth(t testing.TB, name, peer string, addrs ...string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	pair := netlink.NewVeth(attrs)
	pair.PeerName = peer
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatalf("make veth %s: %v", name, err)
	}
	Up(t, name)
	Up(t, peer)
	for _, a := range addrs {
		AddAddr(t, name, a)
	}
}

// Pair connects the test's namespace and that of path by devices of one name,
// with the given addresses here and there.
func Pair(t testing.TB, path, name string, here, there []string) {
	t.Helper()
	ns, err := netns.GetFromPath(path)
	if err != nil {
		t.Fatalf("open netns %s: %v", path, err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerNamespace = name, netlink.NsFd(ns)
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatalf("make veth %s: %v", name, err)
	}
	finish := func(addrs []string) {
		Up(t, name)
		for _, a := range addrs {
			AddAddr(t, name, a)
		}
	}
	finish(here)
	In(t, path, func() { finish(there) })
}

// AddAddr adds an address with its prefix length to a device.
func AddAddr(t testing.TB, device, addr string) {
	t.Helper()
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	if netip.MustParsePrefix(addr).Addr().Is6() {
		a.Flags = 0x02 // IFA_F_NODAD
	}
	if err := netlink.AddrAdd(Link(t, device), a); err != nil {
		t.Fatalf("add %s to %s: %v", addr, device, err)
	}
}

// Up sets a device up.
func Up(t testing.TB, device string) {
	t.Helper()
	if err := netlink.LinkSetUp(Link(t, device)); err != nil {
		t.Fatalf("set %s up: %v", device, err)
	}
}

// Link returns a device.
func Link(t testing.TB, device string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatalf("find device %s: %v", device, err)
	}
	return l
}

// Eventually polls until ok returns true, and fails the test when that takes
// longer than the limit.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(2 * time.Millisecond) // between two looks
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
}
