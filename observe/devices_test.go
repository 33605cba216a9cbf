package observe

import "testing"

func TestDevicesHaveTheirNames(t *testing.T) {
	var d DeviceNames
	for range 2 { // asked for, and remembered
		if got := d.Name(1); got != "lo" {
			t.Errorf("device 1 is %q, want lo", got)
		}
		if got := d.Name(1 << 30); got != "" {
			t.Errorf("a device that is none is %q", got)
		}
	}
}
