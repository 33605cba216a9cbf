package agent

import (
	"strings"
	"testing"

	"weir/agent/config"
	"weir/control/policy"
	"weir/state"
)

func TestExplainKnowsThePortsThatNoPolicyCloses(t *testing.T) {
	world, host := policy.Party{Identity: state.IdentityWorld}, policy.Party{Identity: state.IdentityHost, Local: true}
	for name, c := range map[string]struct {
		on       bool
		from, to policy.Party
		port     uint16
		allowed  bool
	}{
		"a fail-safe port":             {true, world, host, 22, true},
		"another port":                 {true, world, host, 23, false},
		"the port of somebody else":    {true, world, world, 22, false},
		"in the other direction":       {true, host, world, 22, false},
		"one of the other direction":   {true, host, world, 67, true},
		"without the host's firewall":  {false, world, host, 22, false},
		"its egress, asked as ingress": {true, world, host, 67, false},
	} {
		a := &Agent{cfg: config.Loaded{Config: config.Config{HostFirewall: config.HostFirewall{Enabled: c.on, FailSafe: []string{"ingress:TCP/22", "egress:TCP/67"}}}}}
		answer := policy.Answer{Egress: policy.Judgement{Verdict: policy.Unknown}, Ingress: policy.Judgement{Verdict: policy.Denied}}
		if c.from.Identity == state.IdentityHost {
			answer.Egress, answer.Ingress = answer.Ingress, answer.Egress
		}
		a.openFailSafes(&answer, c.from, c.to, state.ProtoTCP, c.port)
		if answer.Allowed != c.allowed {
			t.Errorf("%s: allowed %v, want %v: %+v", name, answer.Allowed, c.allowed, answer)
		}
	}
}

func TestAnAddressIsTheSameHoweverItIsWritten(t *testing.T) {
	r := newReplayRig(t)
	p, _, err := r.party("::ffff:10.0.0.7", true)
	if err != nil || p.Identity != websID || p.Endpoint != 7 {
		t.Errorf("got %+v, %v, want web", p, err)
	}
	if _, _, err := r.party("fe80::1%eth0", false); err == nil || !strings.Contains(err.Error(), "without %eth0") {
		t.Errorf("of one link: %v", err)
	}
}
