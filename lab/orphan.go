package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// orphan is a lab whose lab.json is lost or unreadable: what can be told of it
// from marks, processes and the layout of its folder.
type orphan struct {
	name      string
	netns     map[string]uint64
	strange   []string // namespaces with names of the lab's that nobody marked
	processes []Process
	cgroup    string   // folder of its control groups, or ""
	entries   []string // of the folder, that the lab wrote
	foreign   []string // of the folder, that somebody else did
}

// findOrphan looks for what is left of a lab. It changes nothing.
func findOrphan(name string) (*orphan, error) {
	o := &orphan{name: name}
	var err error
	if o.netns, o.strange, err = marked(name); err != nil {
		return nil, err
	}
	o.processes = processesOf(name)
	if dir := labCgroup(name); exists(dir) {
		o.cgroup = dir
	}
	entries, err := os.ReadDir(labDir(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look into %s: %w", labDir(name), err)
	}
	for _, e := range entries {
		if wroteEntry(labDir(name), e) {
			o.entries = append(o.entries, e.Name())
		} else {
			o.foreign = append(o.foreign, e.Name())
		}
	}
	return o, nil
}

// empty reports whether nothing is left that the lab made.
func (o *orphan) empty() bool {
	return len(o.netns)+len(o.processes)+len(o.entries) == 0 && o.cgroup == ""
}

// remove takes away what is the lab's and names what is not. It goes on after
// an error, so that as much as can be goes.
func (o *orphan) remove() error {
	errs := []error{each(8, o.processes, func(p Process) error { return p.stop(5 * time.Second) })}
	inodes := map[uint64]bool{}
	for _, id := range o.netns {
		inodes[id] = true
	}
	errs = append(errs, killInside(inodes), removeLabCgroup(o.cgroup))
	for name, id := range o.netns {
		errs = append(errs, removeNetns(name, id))
	}
	errs = append(errs, o.removeFiles())
	for _, name := range o.strange {
		errs = append(errs, fmt.Errorf("network namespace %s: %w; remove it with: ip netns del %s", name, errForeign, name))
	}
	return errors.Join(errs...)
}

// removeFiles takes down the mounts and removes the folder, but for what is
// not the lab's.
func (o *orphan) removeFiles() error {
	dir := labDir(o.name)
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := (&record{Name: o.name}).unmount(); err != nil {
		return err
	}
	if len(o.foreign) == 0 {
		return removeFolder(dir)
	}
	var errs []error
	for _, e := range o.entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e)))
	}
	return errors.Join(append(errs, fmt.Errorf("folder %s holds %q: %w", dir, o.foreign[0], errForeign))...)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// wroteEntry reports whether an entry of a lab's folder is one that labs write.
func wroteEntry(dir string, e os.DirEntry) bool {
	switch name := e.Name(); {
	case name == "lab.json" || strings.HasPrefix(name, ".tmp-"):
		return true
	case !e.IsDir():
		return false
	case name == "cni":
		return holdsOnly(filepath.Join(dir, name), "results")
	case name == "objects":
		return holdsOnly(filepath.Join(dir, name), "*.yaml")
	case name == "certs":
		return holdsOnly(filepath.Join(dir, name), "*.crt", "*.key")
	case name == "logs":
		return holdsOnly(filepath.Join(dir, name), "*.log")
	default: // a node; run and bpf are made before weir.yaml is
		path := filepath.Join(dir, name)
		_, err := os.Stat(filepath.Join(path, "weir.yaml"))
		return err == nil || holdsOnly(path, "run", "bpf")
	}
}

// holdsOnly reports whether everything in dir has a name like one of these.
func holdsOnly(dir string, patterns ...string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return !slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := filepath.Match(p, e.Name())
			return err == nil && ok
		})
	})
}

// processesOf finds the lab's agents and containers: root's, outside of the
// host's network namespace, and either an agent with a configuration of the lab
// or leader of a session that writes into the lab's logs. Somebody who only
// reads one of these files fits neither.
func processesOf(lab string) []Process {
	var out []Process
	hosts := []uint64{0, inode("/proc/self/ns/net"), inode("/proc/1/ns/net")}
	entries, _ := os.ReadDir("/proc") // an unreadable /proc has no processes to show
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// The start time is read first: if the id changes hands meanwhile, it
		// is not the new holder's.
		start, _, err := procStat(pid)
		dir := filepath.Join("/proc", e.Name())
		if err != nil || slices.Contains(hosts, inode(dir+"/ns/net")) || !rootLeads(pid, dir) {
			continue
		}
		if isAgent(dir, labDir(lab)) || logsTo(dir, filepath.Join(labDir(lab), "logs")) {
			out = append(out, Process{PID: pid, Start: start})
		}
	}
	return out
}

// rootLeads reports whether a process is root's and leads its process group,
// as all that the lab starts do: signals go to the group.
func rootLeads(pid int, dir string) bool {
	st, err := os.Stat(dir)
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	group, err := syscall.Getpgid(pid)
	return ok && sys.Uid == 0 && err == nil && group == pid
}

func isAgent(proc, lab string) bool {
	data, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return false
	}
	argv := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	return len(argv) == 3 && filepath.Base(argv[0]) == "weir-agent" && argv[1] == "-config" &&
		filepath.Base(argv[2]) == "weir.yaml" && filepath.Dir(filepath.Dir(argv[2])) == lab
}

func logsTo(proc, logs string) bool {
	for _, fd := range []string{"1", "2"} {
		file, err := os.Readlink(filepath.Join(proc, "fd", fd))
		if err != nil || !strings.HasPrefix(file, logs+"/") {
			return false
		}
	}
	return true
}
