package datapath

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"

	"weir/bpf"
)

// Loaded counts how the programs got there.
type Loaded struct {
	Adopted int // found pinned, with the wanted code, constants and maps
	Loaded  int // given to the verifier
}

// Load makes the pinned programs those of this binary with the constants of
// cfg. Programs that already are stay as they are; attachments move over to
// others atomically. Maps keep their content.
func (d *Datapath) Load(cfg bpf.Config) (Loaded, error) {
	var n Loaded
	cfg.Build = d.build
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready.Synced() && cfg == d.config {
		return Loaded{Adopted: len(d.programs)}, nil
	}
	for _, object := range bpf.Objects {
		if err := d.loadObject(object, cfg, &n); err != nil {
			return n, fmt.Errorf("load object %s: %w", object, err)
		}
	}
	if err := errors.Join(d.reattach(), d.reattachSockets()); err != nil {
		return n, err
	}
	if err := d.maps.commit(); err != nil {
		return n, err
	}
	d.config = cfg
	return n, nil
}

func (d *Datapath) loadObject(object string, cfg bpf.Config, n *Loaded) error {
	spec, err := bpf.Spec(object)
	if err != nil {
		return err
	}
	if err := spec.Variables["config"].Set(cfg); err != nil {
		return fmt.Errorf("set constants: %w", err)
	}
	adopted, err := d.adopt(spec)
	if err != nil || adopted {
		n.Adopted += len(spec.Programs)
		return err
	}
	replace := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if isOurs(name) {
			m.MaxEntries = d.maps.maps[name].MaxEntries()
			replace[name] = d.maps.maps[name]
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace})
	if err != nil {
		return explainLoad(err)
	}
	defer coll.Close()
	for name := range coll.Programs {
		p := coll.DetachProgram(name)
		if err := pinProgram(p, d.tree.Program(name)); err != nil {
			return err
		}
		d.keep(name, p)
		n.Loaded++
	}
	return nil
}

// adopt takes the pinned programs of an object if all of them are the wanted
// ones: their frozen constants, which include the build's fingerprint, and
// their maps say so.
func (d *Datapath) adopt(spec *ebpf.CollectionSpec) (bool, error) {
	found := map[string]*ebpf.Program{}
	ok := true
	for name := range spec.Programs {
		p, err := ebpf.LoadPinnedProgram(d.tree.Program(name), nil)
		if errors.Is(err, fs.ErrNotExist) {
			ok = false
			break
		}
		if err != nil {
			return false, fmt.Errorf("open %s: %w (not a program of Weir? remove it)", d.tree.Program(name), err)
		}
		found[name] = p
		if ok = d.wanted(p, spec); !ok {
			break
		}
	}
	for name, p := range found {
		if ok {
			d.keep(name, p)
		} else {
			p.Close()
		}
	}
	return ok, nil
}

func (d *Datapath) wanted(p *ebpf.Program, spec *ebpf.CollectionSpec) bool {
	info, err := p.Info()
	if err != nil {
		return false
	}
	ids, _ := info.MapIDs()
	stamped := false
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return false
		}
		ok := d.mapWanted(m, spec, &stamped)
		m.Close()
		if !ok {
			return false
		}
	}
	return stamped
}

func (d *Datapath) mapWanted(m *ebpf.Map, spec *ebpf.CollectionSpec, stamped *bool) bool {
	info, err := m.Info()
	if err != nil {
		return false
	}
	if strings.HasSuffix(info.Name, ".rodata") {
		value, err := m.LookupBytes(uint32(0))
		config := spec.Variables["config"]
		from, to := int(config.Offset), int(config.Offset)+len(config.Value)
		*stamped = err == nil && to <= len(value) && bytes.Equal(value[from:to], config.Value)
		return *stamped
	}
	if !isOurs(info.Name) {
		return true // what a program keeps for itself while it runs
	}
	// By id: the kernel cuts names to 15 characters.
	id, _ := info.ID()
	for _, ours := range d.maps.maps {
		if oursInfo, err := ours.Info(); err == nil {
			if other, _ := oursInfo.ID(); other == id {
				return true
			}
		}
	}
	return false
}

func (d *Datapath) keep(name string, p *ebpf.Program) {
	if old := d.programs[name]; old != nil {
		old.Close()
	}
	d.programs[name] = p
}

// pinProgram replaces whatever program is pinned at path in one step.
func pinProgram(p *ebpf.Program, path string) error {
	if err := replaceable(path); err != nil {
		return err
	}
	tmp := path + pending
	os.Remove(tmp)
	if err := p.Pin(tmp); err != nil {
		return fmt.Errorf("pin program: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}

// replaceable refuses what is at our pin and is somebody else's.
func replaceable(path string) error {
	p, err := ebpf.LoadPinnedProgram(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w (not a program of Weir? remove it)", path, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return fmt.Errorf("read info of %s: %w", path, err)
	}
	if want := filepath.Base(path); info.Name != want {
		return fmt.Errorf("%s: a program named %q is pinned where %q belongs; it is left untouched: remove the pin, or set bpf.root to another bpffs", path, info.Name, want)
	}
	return nil
}

// explainLoad keeps the verifier's last words and drops the rest.
func explainLoad(err error) error {
	var v *ebpf.VerifierError
	if errors.As(err, &v) {
		return fmt.Errorf("the kernel's verifier refused a program; is this kernel older than 5.10? %+20v", v)
	}
	return err
}
