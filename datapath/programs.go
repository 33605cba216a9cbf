package datapath

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"
)

// ProgramInfo is a loaded program as the kernel describes it.
type ProgramInfo struct {
	Name     string
	ID       uint32
	Verified uint32 // instructions that the verifier walked; 0 before kernel 5.16
	Memory   uint64 // bytes
	Runs     uint64 // since it was loaded; 0 unless kernel.bpf_stats_enabled is on
	Time     time.Duration
}

// Programs describes every program, sorted by name.
func (d *Datapath) Programs() ([]ProgramInfo, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []ProgramInfo
	for name, p := range d.programs {
		info, err := p.Info()
		if err != nil {
			return out, fmt.Errorf("read info of program %s: %w", name, err)
		}
		i := ProgramInfo{Name: name}
		id, _ := info.ID()
		i.ID = uint32(id)
		i.Verified, _ = info.VerifiedInstructions()
		i.Memory, _ = info.Memlock()
		if s, err := p.Stats(); err == nil {
			i.Runs, i.Time = s.RunCount, s.Runtime
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(x, y ProgramInfo) int { return cmp.Compare(x.Name, y.Name) })
	return out, nil
}

// Measuring reports whether the kernel counts runs of programs: somebody has
// switched it on, which costs each run some 20 ns. Weir never does.
func Measuring() bool {
	b, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled")
	return err == nil && len(b) > 0 && b[0] != '0'
}
