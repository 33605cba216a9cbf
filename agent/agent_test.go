package agent

import (
	"errors"
	"strings"
	"testing"
)

func TestHostRoutingIsBPFOnlyWhereTheKernelHasIt(t *testing.T) {
	missing := errors.New("this kernel has no bpf_redirect_peer (it needs 5.10)")
	for _, c := range []struct {
		choice        string
		missing       error
		bpf           bool
		warns, refuse bool
	}{
		{"auto", nil, true, false, false},
		{"auto", missing, false, true, false},
		{"bpf", nil, true, false, false},
		{"bpf", missing, false, false, true},
		{"legacy", nil, false, false, false},
		{"legacy", missing, false, false, false},
	} {
		got, warning, err := hostRouting(c.choice, c.missing)
		if got != c.bpf || (warning != "") != c.warns || (err != nil) != c.refuse {
			t.Errorf("%s, missing %v: got bpf %v, warning %q, error %v", c.choice, c.missing, got, warning, err)
		}
		if c.refuse && !strings.Contains(err.Error(), "bpf_redirect_peer") {
			t.Errorf("error does not name the helper: %v", err)
		}
	}
}
