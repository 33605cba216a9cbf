package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const threadNetns = "/proc/thread-self/ns/net"

// openNetns opens a pod's network namespace. A path that is missing, or leads
// to something else, or to the namespace of the host, is ErrNoNetns.
func openNetns(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: open netns %s: %w", ErrNoNetns, path, err)
	}
	if err := checkNetns(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %s: %w", ErrNoNetns, path, err)
	}
	return f, nil
}

func checkNetns(f *os.File) error {
	// On a file that is no namespace the ioctl is unknown, or answers something else.
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return errors.New("the file is not a network namespace")
	}
	var pod, host unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &pod); err != nil {
		return err
	}
	if err := unix.Stat(threadNetns, &host); err != nil {
		return err
	}
	if pod.Dev == host.Dev && pod.Ino == host.Ino {
		return errors.New("it is the network namespace of the host")
	}
	return nil
}

// visit runs f on a thread inside the network namespace, with a netlink socket
// of that namespace.
func visit(ns *os.File, f func(*netlink.Handle) error) error {
	return inside(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink in netns %s: %w", ns.Name(), err)
		}
		defer h.Close()
		return f(h)
	})
}

// inside runs f on a thread inside the network namespace. The thread goes back
// afterwards; one that cannot is ended.
func inside(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(threadNetns)
		if err != nil {
			done <- err
			return // still locked: the thread ends with the goroutine
		}
		defer home.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter netns %s: %w", ns.Name(), err)
		} else {
			err = f()
		}
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// NetnsCookie returns the number by which the kernel tells network namespaces
// apart to BPF programs: unique until the next boot, never reused.
func NetnsCookie(path string) (uint64, error) {
	ns, err := openNetns(path)
	if err != nil {
		return 0, err
	}
	defer ns.Close()
	var cookie uint64
	err = inside(ns, func() (err error) {
		cookie, err = threadCookie()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read cookie of netns %s: %w", path, err)
	}
	return cookie, nil
}

// threadCookie is that of the namespace that this thread is in.
func threadCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// Within runs f on a thread inside the network namespace at path, which must be
// the one of the cookie: the path of one that is gone may be another's by now.
func Within(path string, cookie uint64, f func() error) error {
	ns, err := openNetns(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return inside(ns, func() error {
		switch got, err := threadCookie(); {
		case err != nil:
			return fmt.Errorf("read cookie of netns %s: %w", path, err)
		case got != cookie:
			return fmt.Errorf("%w: %s is another one by now", ErrNoNetns, path)
		}
		return f()
	})
}

// Namespaces finds the network namespaces that processes are in, and those that the
// runtime keeps, but the host's: paths by cookie. In a container the latter are all that
// can be seen. What goes meanwhile is left out.
func Namespaces() map[uint64]string {
	out, seen := map[uint64]string{}, map[[2]uint64]bool{}
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/var/run/netns/*"} {
		paths, _ := filepath.Glob(pattern) // the patterns are valid
		for _, path := range paths {
			var st unix.Stat_t
			if unix.Stat(path, &st) != nil || seen[[2]uint64{st.Dev, st.Ino}] {
				continue
			}
			if cookie, err := NetnsCookie(path); err == nil {
				out[cookie], seen[[2]uint64{st.Dev, st.Ino}] = path, true
			}
		}
	}
	return out
}
