package datapath

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

func TestMissingFeaturesAreNamed(t *testing.T) {
	have := feature{"had", func() error { return nil }}
	lacks := feature{"lacked (9.9)", func() error { return fmt.Errorf("probe: %w", ebpf.ErrNotSupported) }}
	unclear := feature{"unclear", func() error { return errors.New("no permission") }}
	if got := missing([]feature{have, lacks, unclear}); !slices.Equal(got, []string{"lacked (9.9)"}) {
		t.Errorf("missing %q, want the one that the kernel says it lacks", got)
	}
}
