package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnNode runs f on a thread in the mount and cgroup namespaces of process 1 of the proc
// file system at proc. It is for a container, whose own mounts end with it, and which has
// only its own cgroup for the root of all.
func OnNode(proc string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread is fit for nothing else, and ends
		err := enterNode(proc)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// enterNode moves this thread into the cgroup and mount namespaces of process 1.
func enterNode(proc string) error {
	var files []*os.File
	kinds := map[string]int{"cgroup": unix.CLONE_NEWCGROUP, "mnt": unix.CLONE_NEWNS}
	order := []string{"cgroup", "mnt"} // the paths of both have to be opened first
	for _, kind := range order {
		f, err := os.Open(filepath.Join(proc, "1", "ns", kind))
		if err != nil {
			return fmt.Errorf("find the node's namespaces: %w (it takes the node's proc, and CAP_SYS_PTRACE)", err)
		}
		defer f.Close()
		files = append(files, f)
	}
	// A thread that shares its root folder with others cannot go.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the root folder: %w", err)
	}
	for i, kind := range order {
		if err := unix.Setns(int(files[i].Fd()), kinds[kind]); err != nil {
			return fmt.Errorf("enter the node's %s namespace: %w (it takes CAP_SYS_ADMIN and CAP_SYS_CHROOT)", kind, err)
		}
	}
	return nil
}

// MountCgroup mounts a cgroup v2 at path unless one is there.
func MountCgroup(path string) (mounted bool, err error) {
	if isCgroup(path) {
		return false, nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return false, fmt.Errorf("make folder for the cgroup: %w", err)
	}
	if err := unix.Mount("none", path, "cgroup2", 0, ""); err != nil {
		return false, fmt.Errorf("mount cgroup v2 at %s: %w", path, err)
	}
	return true, nil
}

// UnmountCgroup takes away what MountCgroup has mounted; nothing there is fine.
func UnmountCgroup(path string) error {
	if !isCgroup(path) {
		return nil
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount cgroup %s: %w", path, err)
	}
	return nil
}

// isCgroup reports whether a cgroup v2 is mounted at path; a folder within one is none.
func isCgroup(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return false
	}
	kind, isMount, err := MountAt(path)
	return err == nil && isMount && kind == "cgroup2"
}
