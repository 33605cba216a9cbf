package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Down removes the lab: pods by CNI DEL where an agent still answers, then all
// processes, control groups, mounts, namespaces and files of the lab. It works on a lab that is
// half made or half gone, and one that is not there is no error.
func (l *Lab) Down(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	if _, err := os.Lstat(labDir(l.name)); errors.Is(err, os.ErrNotExist) {
		o, err := findOrphan(l.name)
		if err != nil {
			return err
		}
		if o.empty() {
			l.progress.say("lab %s: there is none", l.name)
			return nil
		}
	}
	unlock, err := lock(ctx, l.name)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := readRecord(l.name)
	if err != nil {
		return l.downOrphan(err)
	}
	if err := r.tearDown(ctx, l.progress); err != nil {
		return fmt.Errorf("remove lab %q: %w", l.name, err)
	}
	l.progress.say("lab %s: removed", l.name)
	return nil
}

// Remove is Down for a lab of which nothing but the name is known. Steps go to
// w, which may be nil.
func Remove(ctx context.Context, name string, w io.Writer) error {
	if err := checkName("lab name", name, maxLabName); err != nil {
		return err
	}
	return (&Lab{name: name, progress: newProgress(w)}).Down(ctx)
}

// downOrphan removes a lab whose record cannot be read, which is why.
func (l *Lab) downOrphan(why error) error {
	o, err := findOrphan(l.name)
	if err != nil {
		return err
	}
	if o.empty() && len(o.foreign) > 0 {
		return fmt.Errorf("folder %s holds %q and no lab.json: %w", labDir(l.name), o.foreign[0], errForeign)
	}
	if o.empty() {
		return removeFolder(labDir(l.name)) // of a lab that was never begun
	}
	if errors.Is(why, errNoLab) {
		why = errors.New("lab.json is lost")
	}
	l.progress.say("lab %s: %v; removing what is of the lab all the same", l.name, why)
	if err := o.remove(); err != nil {
		return fmt.Errorf("remove lab %q: %w", l.name, err)
	}
	l.progress.say("lab %s: removed", l.name)
	return nil
}

// tearDown goes on after an error, so that as much as can be goes.
func (r *record) tearDown(ctx context.Context, p *progress) error {
	var errs []error
	r.detachPods(ctx, p)
	own := r.inodes()
	for _, pod := range r.Pods {
		for _, c := range pod.Containers {
			errs = append(errs, c.Process.signal(unix.SIGTERM))
		}
	}
	errs = append(errs, each(8, r.Nodes, func(n Node) error { return n.Agent.stop(5 * time.Second) }))
	errs = append(errs, killInside(own))
	errs = append(errs, removeLabCgroup(r.cgroup()))
	errs = append(errs, r.unmount())
	for name, id := range r.Netns {
		errs = append(errs, removeNetns(name, id))
	}
	if err := errors.Join(errs...); err != nil && !errors.Is(err, errForeign) {
		return errors.Join(err, r.save()) // what is left can be removed by another try
	}
	errs = append(errs, removeFolder(r.dir()))
	return errors.Join(errs...)
}

// inodes are those of the lab's own namespaces.
func (r *record) inodes() map[uint64]bool {
	own := map[uint64]bool{}
	for name, id := range r.Netns {
		// 0: the lab broke off before it was written down
		if in := inode(netnsPath(name)); in == id || id == 0 {
			own[in] = true
		}
	}
	delete(own, 0)
	delete(own, inode("/proc/self/ns/net")) // whatever happened, not the host's
	delete(own, inode("/proc/1/ns/net"))
	return own
}

// detachPods takes the pods off their networks as a container runtime would.
// Nobody needs to know when that fails: the namespaces go in any case.
func (r *record) detachPods(ctx context.Context, p *progress) {
	alive := map[string]bool{}
	for _, n := range r.Nodes {
		alive[n.Name] = n.Agent.Alive() && ready(ctx, n) == nil
	}
	var pods []Pod
	for _, pod := range r.Pods {
		if alive[pod.Node] && !pod.HostNetwork {
			pods = append(pods, pod)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := each(podWidth, pods, func(pod Pod) error { return r.detach(ctx, pod) }); err != nil {
		p.say("pods were not detached in order: %v", err)
	}
}

// unmount takes down every mount below the lab's folder, the latest first.
func (r *record) unmount() error {
	mounts, err := mountsBelow(r.dir())
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists mount points in dir in the order of their making
// (proc_pid_mountinfo(5)).
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], real+"/") {
			out = append(out, fields[4])
		}
	}
	return out, nil
}

// removeFolder removes a lab's folder, and the folders above it when nobody
// else uses them. It never descends into a mount.
func removeFolder(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("folder %s stays: %s is still mounted", dir, mounts[0])
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove folder: %w", err)
	}
	_ = os.Remove(root) // fails while another lab is there, which is right
	_ = os.Remove(filepath.Dir(root))
	return nil
}
