package datapath

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/internal/reconcile"
)

// AttachMode says how programs are put on devices.
type AttachMode string

// The attach modes.
const (
	AttachAuto AttachMode = "auto"
	AttachTCX  AttachMode = "tcx" // links, kernel 6.6 and later
	AttachTC   AttachMode = "tc"  // clsact filters
)

// Options says where the datapath lives on this host.
type Options struct {
	Root       string            // where bpffs is, or is to be, mounted
	Sizes      map[string]uint32 // max_entries by map name
	AttachMode AttachMode
	Clean      bool // remove everything of ours first

	Connections ConnectionOptions
}

// Datapath is the maps, programs and attachments of one node.
type Datapath struct {
	Endpoints *Mirror[uint32, bpf.Endpoint]
	IPCache   *Mirror[bpf.IPCacheKey, bpf.IPCacheEntry]
	Nodes     *Mirror[uint32, bpf.Node]
	Policy    *PolicyMaps
	Services  *ServiceMaps

	L2            *Mirror[bpf.L2Key, bpf.L2Entry] // written by control/l2announce
	Unmasqueraded *Mirror[bpf.IPCacheKey, uint32] // written by control/masquerade
	CT            *Connections

	log   *slog.Logger
	lock  *os.File // of the bpffs
	tree  Tree
	build uint64 // of the objects in this binary
	mode  AttachMode
	maps  *mapSet
	grow  serviceTables

	ready reconcile.Signal

	bumping sync.Mutex // see Generations

	// mu is held for reading while a program is being attached, which can take
	// milliseconds, and for writing while programs are exchanged.
	mu       sync.RWMutex
	programs map[string]*ebpf.Program
	config   bpf.Config

	listing  sync.Mutex
	attached map[string]Attachment // by pin
	cgroup   string                // that sockets are seen of, or empty
}

// Open mounts bpffs if need be, opens or makes the maps and reads them back.
// Nothing is attached and no program loaded by it.
func Open(log *slog.Logger, o Options) (*Datapath, error) {
	mode, err := attachMode(o.AttachMode)
	if err != nil {
		return nil, err
	}
	mounted, err := MountBPFFS(o.Root)
	if err != nil {
		return nil, err
	}
	if mounted {
		log.Info("bpffs mounted", "path", o.Root)
	}
	lock, err := lockRoot(o.Root)
	if err != nil {
		return nil, err
	}
	d, err := open(log, o, mode)
	if err != nil {
		lock.Close()
		return nil, err
	}
	d.lock = lock
	return d, nil
}

// lockRoot makes this the only process that writes below the bpffs: another
// agent, with a run folder of its own, would take our rows for its leavings.
func lockRoot(root string) (*os.File, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("open bpf.root: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another agent uses bpf.root %s: stop it, or set bpf.root to another bpffs", root)
	}
	return f, nil
}

func open(log *slog.Logger, o Options, mode AttachMode) (*Datapath, error) {
	tree := NewTree(o.Root)
	if o.Clean {
		if err := tree.Remove(); err != nil {
			return nil, err
		}
		log.Info("pinned state wiped", "path", tree.Root())
	}
	if err := tree.mkdirs(); err != nil {
		return nil, err
	}
	maps, err := openMaps(log, tree, o.Sizes)
	if err != nil {
		return nil, err
	}
	build, err := bpf.Build()
	if err != nil {
		maps.close()
		return nil, err
	}
	d := &Datapath{log: log, tree: tree, build: build, mode: mode, maps: maps,
		programs: map[string]*ebpf.Program{}, attached: map[string]Attachment{}}
	if err := d.openMirrors(o); err != nil {
		maps.close()
		return nil, err
	}
	return d, nil
}

// openMirrors reads every map that the agent writes back.
func (d *Datapath) openMirrors(o Options) (err error) {
	m := d.maps.maps
	d.Endpoints, err = OpenMirror(bpf.MapEndpoints, kernel[uint32, bpf.Endpoint]{m[bpf.MapEndpoints]})
	if err != nil {
		return err
	}
	d.IPCache, err = OpenMirror(bpf.MapIPCache, kernel[bpf.IPCacheKey, bpf.IPCacheEntry]{m[bpf.MapIPCache]})
	if err != nil {
		return err
	}
	d.Nodes, err = OpenMirror(bpf.MapNodes, kernel[uint32, bpf.Node]{m[bpf.MapNodes]})
	if err != nil {
		return err
	}
	if d.Policy, err = openPolicyMaps(m); err != nil {
		return err
	}
	if d.grow, err = openServiceTables(d.log, d.maps); err != nil {
		return err
	}
	if d.Services, err = d.grow.open(m[bpf.MapSourceRanges]); err != nil {
		return err
	}
	d.Unmasqueraded, err = OpenMirror(bpf.MapUnmasqueraded, kernel[bpf.IPCacheKey, uint32]{m[bpf.MapUnmasqueraded]})
	if err != nil {
		return err
	}
	d.L2, err = OpenMirror(bpf.MapL2, l2Store{kernel[bpf.L2Key, bpf.L2Entry]{m[bpf.MapL2]}})
	if err != nil {
		return err
	}
	d.CT, err = openConnections(d.log, m[bpf.MapCT], o.Connections, d.program)
	return err
}

// program returns a loaded program, or nil.
func (d *Datapath) program(name string) *ebpf.Program {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.programs[name]
}

// Close lets go of everything; pins and attachments stay.
func (d *Datapath) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.maps.close()
	d.CT.close()
	d.grow.close()
	d.lock.Close()
	for _, p := range d.programs {
		p.Close()
	}
}

// Tree is the folder on bpffs.
func (d *Datapath) Tree() Tree { return d.tree }

// Mode is how programs are attached: AttachTCX or AttachTC.
func (d *Datapath) Mode() AttachMode { return d.mode }

// Config is what the programs were loaded with; zero before the first Load.
func (d *Datapath) Config() bpf.Config {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.config
}

// Ready can be waited for: it is synced once MarkReady was called.
func (d *Datapath) Ready() *reconcile.Signal { return &d.ready }

// MarkReady says that programs are loaded, and attached to the node's own
// devices: a pod that is added from here on can be reached.
func (d *Datapath) MarkReady() { d.ready.Set() }

func attachMode(m AttachMode) (AttachMode, error) {
	if m == AttachTC {
		return m, nil
	}
	// Every namespace has lo at index 1; a kernel without tcx knows no such attach type.
	_, err := link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress})
	switch {
	case err == nil:
		return AttachTCX, nil
	case errors.Is(err, unix.EPERM):
		return "", fmt.Errorf("probe the kernel for tcx links: %w (is this root?)", err)
	case m == AttachTCX:
		return "", errors.New("bpf.attachMode is tcx, but this kernel has no tcx links (it needs 6.6): set it to tc or auto")
	}
	return AttachTC, nil
}

// feature is something of the kernel that Weir cannot do without.
type feature struct {
	name  string // with the version that has it
	probe func() error
}

var needed = []feature{
	{"BPF programs for tc (4.1)", func() error { return features.HaveProgramType(ebpf.SchedCLS) }},
	{"LPM trie maps (4.11)", func() error { return features.HaveMapType(ebpf.LPMTrie) }},
	{"bpf_skb_set_tunnel_key (4.3)", func() error { return features.HaveProgramHelper(ebpf.SchedCLS, asm.FnSkbSetTunnelKey) }},
	{"bpf_fib_lookup (4.18)", func() error { return features.HaveProgramHelper(ebpf.SchedCLS, asm.FnFibLookup) }},
	{"bpf_csum_update and bpf_skb_change_type (4.9)", func() error {
		return errors.Join(features.HaveProgramHelper(ebpf.SchedCLS, asm.FnCsumUpdate), features.HaveProgramHelper(ebpf.SchedCLS, asm.FnSkbChangeType))
	}},
}

// Missing names the features that this kernel lacks and Weir cannot do without.
func Missing() []string { return missing(needed) }

// missing leaves out what could not be found out: loading then says more.
func missing(needed []feature) []string {
	var out []string
	for _, f := range needed {
		if err := f.probe(); errors.Is(err, ebpf.ErrNotSupported) {
			out = append(out, f.name)
		}
	}
	return out
}

// HostRouting reports whether the kernel has what BPF host routing needs.
func HostRouting() error {
	for name, fn := range map[string]asm.BuiltinFunc{"bpf_redirect_peer": asm.FnRedirectPeer, "bpf_redirect_neigh": asm.FnRedirectNeigh} {
		if err := features.HaveProgramHelper(ebpf.SchedCLS, fn); err != nil {
			return fmt.Errorf("this kernel has no %s (it needs 5.10): %w", name, err)
		}
	}
	return nil
}
