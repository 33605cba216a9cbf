package suggest_test

import (
	"testing"

	"weir/internal/suggest"
)

func TestSuggestionsNeedLikeness(t *testing.T) {
	known := []string{"bpf.hostRouting", "tunnelPort", "mtu"}
	for typed, want := range map[string]string{
		"hostRouting": "bpf.hostRouting", "bpf.host-routing": "bpf.hostRouting", "TUNNELPORT": "tunnelPort",
		"tunelPort": "tunnelPort", "mut": "mtu", "mode": "", "kubeProxyReplacement": "",
	} {
		if got := suggest.Nearest(typed, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", typed, got, want)
		}
	}
}
