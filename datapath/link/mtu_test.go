package link

import "testing"

func TestRouteMTULeavesRoomForTheTunnel(t *testing.T) {
	tests := []struct {
		name          string
		underlay      int
		tunnel, over6 bool
		want          int
	}{
		{"native", 1500, false, false, 1500},
		{"native over IPv6", 1500, false, true, 1500},
		{"vxlan over IPv4", 1500, true, false, 1450},
		{"vxlan over IPv6", 1500, true, true, 1430},
		{"jumbo frames", 9000, true, false, 8950},
	}
	for _, tt := range tests {
		if got := RouteMTU(tt.underlay, tt.tunnel, tt.over6); got != tt.want {
			t.Errorf("%s: RouteMTU(%d) = %d, want %d", tt.name, tt.underlay, got, tt.want)
		}
	}
}
