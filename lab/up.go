package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"weir/lab/kube"
)

var errNotRoot = errors.New("a lab needs root: it makes network namespaces and loads BPF programs (try sudo)")

// Up makes a lab and returns when every agent serves and the manifests of the
// spec are applied. A lab that could not be made is removed, unless Keep is set.
func Up(ctx context.Context, spec Spec) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	spec = spec.withDefaults()
	if err := spec.check(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	nodes, err := spec.layout()
	if err != nil {
		return nil, fmt.Errorf("lab %q: %w", spec.Name, err)
	}
	if kube.Exists(spec.Name) {
		return nil, fmt.Errorf("lab %q is there already, with Kubernetes: remove it with weir lab down --name %s, or take another name", spec.Name, spec.Name)
	}
	bin, err := binaries(spec.Bin)
	if err != nil {
		return nil, err
	}
	l := &Lab{name: spec.Name, progress: newProgress(spec.Progress)}
	r := &record{Name: spec.Name, Spec: spec, Bin: bin, Created: time.Now(), Nodes: nodes, Netns: map[string]uint64{}}
	if err := l.make(ctx, r); err != nil {
		return nil, err
	}
	if len(spec.Manifests) > 0 {
		if err := l.Apply(ctx, spec.Manifests...).Err(); err != nil {
			return l, err
		}
	}
	return l, nil
}

// make does the work of Up up to the manifests, under the lock.
func (l *Lab) make(ctx context.Context, r *record) error {
	unlock, err := lock(ctx, l.name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := vacant(r); err != nil {
		return err
	}
	err = l.build(ctx, r)
	if err == nil {
		r.Up = true
		return r.save()
	}
	if r.Spec.Keep {
		return errors.Join(err, r.save(), fmt.Errorf("the lab is left as it is; remove it with: weir lab down --name %s", l.name))
	}
	l.progress.say("that did not work: removing the lab")
	return errors.Join(err, r.tearDown(context.WithoutCancel(ctx), l.progress))
}

// vacant makes sure that nothing of the lab's names is in use, and then writes
// down that they are its own.
func vacant(r *record) error {
	entries, err := os.ReadDir(r.dir())
	if err != nil {
		return fmt.Errorf("look into %s: %w", r.dir(), err)
	}
	if old, err := readRecord(r.Name); err == nil {
		state := "is up already"
		if !old.Up {
			state = "exists, half made"
		}
		return fmt.Errorf("lab %q %s; remove it with: weir lab down --name %s", r.Name, state, r.Name)
	}
	if o, err := findOrphan(r.Name); err == nil && !o.empty() {
		return fmt.Errorf("lab %q is there, but its lab.json is lost or unreadable; remove it with: weir lab down --name %s", r.Name, r.Name)
	}
	if len(entries) > 0 {
		return fmt.Errorf("folder %s holds %q and no lab.json: %w; choose another --name, or remove it", r.dir(), entries[0].Name(), errForeign)
	}
	names := []string{netnsName(r.Name, underlayNS), netnsName(r.Name, worldName)}
	for _, n := range r.Nodes {
		names = append(names, n.Netns)
	}
	for _, name := range names {
		if _, err := os.Lstat(netnsPath(name)); err == nil {
			err := fmt.Errorf("network namespace %s exists already: %w; choose another --name, or remove it with: ip netns del %s", name, errForeign, name)
			return errors.Join(err, removeFolder(r.dir()))
		}
		r.Netns[name] = 0
	}
	return r.save()
}

func (l *Lab) build(ctx context.Context, r *record) error {
	for name := range r.Netns {
		sysctls := hostSysctls
		if name != netnsName(r.Name, underlayNS) && name != netnsName(r.Name, worldName) {
			sysctls = nodeSysctls
		}
		id, err := addHost(name, r.Name, sysctls)
		if err != nil {
			if errors.Is(err, errForeign) {
				delete(r.Netns, name)
			}
			return err
		}
		r.Netns[name] = id
	}
	if err := r.makeCgroups(); err != nil {
		return err
	}
	if err := buildUnderlay(r.Spec, r.Nodes); err != nil {
		return err
	}
	if err := r.writeNodes(); err != nil {
		return err
	}
	if err := r.save(); err != nil {
		return err
	}
	l.progress.say("lab %s: %d nodes, %s, underlay and world", r.Name, len(r.Nodes), r.Spec.Mode)
	err := each(len(r.Nodes), r.Nodes, func(n Node) error {
		m := r.node(n.Name)
		if err := r.startAgent(ctx, m); err != nil {
			return err
		}
		l.progress.say("node %s: agent ready (process %d)", n.Name, m.Agent.PID)
		return nil
	})
	return errors.Join(err, r.save())
}

// writeNodes writes what the agents and the plugin read: configurations and
// the objects of the nodes.
func (r *record) writeNodes() error {
	for _, dir := range []string{r.objects(), r.path("logs"), r.path("cni"), r.path("certs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	if err := writeCertificates(r.path("certs"), r.Spec.ClusterName); err != nil {
		return err
	}
	for _, n := range r.Nodes {
		if err := os.MkdirAll(filepath.Join(n.Dir, "run"), 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		if err := os.MkdirAll(filepath.Join(n.Dir, "bpf"), 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		conf, err := r.Spec.agentConfig(n)
		if err != nil {
			return err
		}
		if err := writeFile(r.dir(), filepath.Join(n.Dir, "weir.yaml"), conf); err != nil {
			return err
		}
		if err := r.writeConflist(n); err != nil {
			return err
		}
		if err := r.writeObject(nodeFile(n.Name), ciliumNode(n)); err != nil {
			return err
		}
	}
	return nil
}

// binaries returns the folder of our programs and makes sure that those a lab
// needs are in it.
func binaries(dir string) (string, error) {
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find own program: %w", err)
		}
		dir = filepath.Dir(self)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find programs: %w", err)
	}
	for _, name := range []string{"weir", "weir-agent", "weir-cni"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%s is not in %s: build it with make, or say where it is with --bin", name, dir)
		}
	}
	return dir, nil
}
