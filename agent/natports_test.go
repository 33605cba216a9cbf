package agent

import "testing"

func TestPortsAreLeftHoweverManyTheNodesSocketsAndServicesHave(t *testing.T) {
	type ports = [2]uint16
	usual := ports{30000, 32767}
	for _, x := range []struct{ own, nodePorts, want ports }{
		{ports{32768, 60999}, usual, ports{1024, 29999}},
		{ports{1024, 65535}, usual, ports{32768, 65534}},
		{ports{1025, 65535}, usual, ports{32768, 65534}},
		{ports{10000, 65535}, usual, ports{1024, 9999}},
		{ports{2000, 63000}, usual, ports{32768, 65534}},
		{ports{32768, 60999}, ports{1024, 65535}, ports{1024, 32767}},
		{ports{32768, 60999}, ports{1, 64000}, ports{1024, 32767}},
		{ports{1024, 65535}, ports{1024, 65535}, ports{1024, 65534}},
	} {
		if got := natPortsBeside(x.own, x.nodePorts); got != x.want {
			t.Errorf("beside %d and NodePorts %d: %d, want %d", x.own, x.nodePorts, got, x.want)
		}
	}
}
