package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"weir/state"
)

// root is where every lab has its folder.
const root = "/run/weir/lab"

// record is lab.json: all that is needed to use a lab and to remove it. What
// is about to be made is written down first, so that a lab that broke off half
// way can be removed, too.
type record struct {
	Name         string            `json:"name"`
	Up           bool              `json:"up"` // false while it is being made
	Spec         Spec              `json:"spec"`
	Bin          string            `json:"bin"`
	Created      time.Time         `json:"created"`
	Netns        map[string]uint64 `json:"netns"` // name -> inode, 0 until made
	Nodes        []Node            `json:"nodes"`
	Pods         []Pod             `json:"pods"`
	Identities   []state.Identity  `json:"identities,omitempty"`
	LastIdentity state.IdentityID  `json:"lastIdentity,omitempty"` // the highest number ever given
	Workloads    []string          `json:"workloads,omitempty"`    // "DaemonSet default/evescn", those that own pods
}

// Node is a member of the cluster.
type Node struct {
	Name      string         `json:"name"`
	Netns     string         `json:"netns"`     // name in /run/netns
	Dir       string         `json:"dir"`       // its files
	Addresses []netip.Addr   `json:"addresses"` // of eth0, IPv4 first
	NICs      int            `json:"nics,omitempty"`
	PodCIDRs  []netip.Prefix `json:"podCIDRs"`
	Agent     Process        `json:"agent"`
	Cgroup    string         `json:"cgroup,omitempty"` // folder of what runs on it
}

// Socket is where the node's agent listens.
func (n Node) Socket() string { return filepath.Join(n.Dir, "run", "weir.sock") }

// Pod is a pod of the lab.
type Pod struct {
	Namespace   string       `json:"namespace"`
	Name        string       `json:"name"`
	Node        string       `json:"node"`
	Netns       string       `json:"netns"`
	ContainerID string       `json:"containerID"`
	HostNetwork bool         `json:"hostNetwork,omitempty"` // lives in the node's namespace
	IPs         []netip.Addr `json:"ips,omitempty"`
	HostDevice  string       `json:"hostDevice,omitempty"` // its end of the link in the node
	Owner       string       `json:"owner,omitempty"`      // "DaemonSet default/evescn"; empty for a bare pod
	Index       int          `json:"index,omitempty"`      // among those of a Deployment; a higher one is younger
	Hash        string       `json:"hash"`                 // of what cannot change without a new pod
	Error       string       `json:"error,omitempty"`      // why it has no network
	Containers  []Container  `json:"containers"`
	Object      *corev1.Pod  `json:"object"` // without what scheduler and kubelet add
}

// Key is namespace/name.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// Container is one process of a pod.
type Container struct {
	Name    string  `json:"name"`
	Process Process `json:"process"`
	Log     string  `json:"log"`
	Error   string  `json:"error,omitempty"` // why it was not started
}

func (r *record) node(name string) *Node {
	for i := range r.Nodes {
		if r.Nodes[i].Name == name {
			return &r.Nodes[i]
		}
	}
	return nil
}

func (r *record) pod(key string) *Pod {
	for i := range r.Pods {
		if r.Pods[i].Key() == key {
			return &r.Pods[i]
		}
	}
	return nil
}

func labDir(name string) string           { return filepath.Join(root, name) }
func recordFile(name string) string       { return filepath.Join(labDir(name), "lab.json") }
func (r *record) dir() string             { return labDir(r.Name) }
func (r *record) objects() string         { return filepath.Join(r.dir(), "objects") }
func (r *record) path(p ...string) string { return filepath.Join(append([]string{r.dir()}, p...)...) }

// readRecord returns errNoLab when there is no such lab.
func readRecord(name string) (*record, error) {
	data, err := os.ReadFile(recordFile(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab %q: %w", name, errNoLab)
	}
	if err != nil {
		return nil, fmt.Errorf("read lab %q: %w", name, err)
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", recordFile(name), err)
	}
	if r.Name != name { // everything is found, and removed, by this name
		return nil, fmt.Errorf("read %s: it is of lab %q, want %q", recordFile(name), r.Name, name)
	}
	return r, nil
}

func (r *record) save() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode lab %q: %w", r.Name, err)
	}
	return writeFile(r.dir(), recordFile(r.Name), data)
}

// writeFile replaces the file in one step. The temporary file stands in dir,
// which must be on the same file system and not be watched by agents.
func writeFile(dir, file string, data []byte) error {
	tmp, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o600), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the first error counts
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// lock makes the lab's folder if it is missing and waits until no other
// command works on it. The lock is on the folder itself, so that nothing of it
// stays behind.
func lock(ctx context.Context, name string) (unlock func(), err error) {
	dir := labDir(name)
	var f *os.File
	err = poll(ctx, 50*time.Millisecond, func() bool {
		var ok bool
		ok, f, err = tryLock(dir)
		return ok || err != nil
	})
	if err == nil && f == nil {
		return nil, fmt.Errorf("lab %q: another command works on it: %w", name, ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("lock lab %q: %w", name, err)
	}
	return func() { f.Close() }, nil
}

func tryLock(dir string) (bool, *os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, nil, err
	}
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	// The folder may have been removed, and made again, since it was opened.
	held, ferr := f.Stat()
	current, cerr := os.Stat(dir)
	if err == nil && ferr == nil && cerr == nil && os.SameFile(held, current) {
		return true, f, nil
	}
	f.Close()
	if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil, err
	}
	return false, nil, nil
}
