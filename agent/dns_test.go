package agent

import (
	"os"
	"testing"

	"weir/agent/config"
)

// Without flows, or without names in them, programs have no code for answers of DNS, and
// their ring takes a page.
func TestAnswersOfDNSAreCopiedForFlowsOnly(t *testing.T) {
	for _, c := range []struct{ flows, names, want bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
		cfg := config.Defaults()
		cfg.Hubble.Enabled, cfg.Hubble.DNSNames = c.flows, c.names
		a := &Agent{cfg: config.Loaded{Config: cfg}}
		if got := a.monitorOptions().DNS; got != c.want {
			t.Errorf("hubble.enabled %v, dnsNames %v: copied %v", c.flows, c.names, got)
		}
		if size := int(dnsSize(cfg)); (size > os.Getpagesize()) != c.want {
			t.Errorf("hubble.enabled %v, dnsNames %v: a ring of %d octets", c.flows, c.names, size)
		}
	}
	if !config.Defaults().HearsDNS() {
		t.Error("names are off unless configured")
	}
}
