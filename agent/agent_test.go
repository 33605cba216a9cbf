package agent

import (
	"errors"
	"strings"
	"testing"
)

func TestHostRoutingIsBPFWhereTheKernelHasItAndServicesAreOurs(t *testing.T) {
	missing := errors.New("this kernel has no bpf_redirect_peer (it needs 5.10)")
	for _, c := range []struct {
		choice        string
		services      bool
		missing       error
		bpf           bool
		warns, refuse bool
	}{
		{"auto", true, nil, true, false, false},
		{"auto", true, missing, false, true, false},
		{"bpf", true, nil, true, false, false},
		{"bpf", true, missing, false, false, true},
		{"legacy", true, nil, false, false, false},
		{"legacy", true, missing, false, false, false},
		{"auto", false, nil, false, false, false}, // kube-proxy is in the stack
		{"auto", false, missing, false, false, false},
		{"bpf", false, nil, true, true, false},
		{"bpf", false, missing, false, false, true},
		{"legacy", false, nil, false, false, false},
	} {
		got, warning, err := hostRouting(c.choice, c.services, c.missing)
		if got != c.bpf || (warning != "") != c.warns || (err != nil) != c.refuse {
			t.Errorf("%s, missing %v: got bpf %v, warning %q, error %v", c.choice, c.missing, got, warning, err)
		}
		if c.refuse && !strings.Contains(err.Error(), "bpf_redirect_peer") {
			t.Errorf("error does not name the helper: %v", err)
		}
	}
}
