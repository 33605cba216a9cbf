package agent

import "testing"

func TestPortsAreLeftHoweverManyTheNodesSocketsHave(t *testing.T) {
	nodePorts := [2]uint16{30000, 32767}
	for own, want := range map[[2]uint16][2]uint16{
		{32768, 60999}: {1024, 29999},
		{1024, 65535}:  {32768, 65534},
		{1025, 65535}:  {32768, 65534},
		{10000, 65535}: {1024, 9999},
		{2000, 63000}:  {32768, 65534},
	} {
		if got := natPortsBeside(own, nodePorts); got != want {
			t.Errorf("beside %d: %d, want %d", own, got, want)
		}
	}
}
