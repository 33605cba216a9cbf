package agent

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"weir/state"
)

// A probe leaves the pod that it is sent from as it was.
func TestAnEchoProbeAllowsNobodyElseToPing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs a network namespace: run as root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		read := func() string {
			text, err := os.ReadFile("/proc/sys/net/ipv4/ping_group_range")
			if err != nil {
				t.Error(err)
			}
			return string(text)
		}
		before := read()
		fd, _, err := probeSocket(plan{src: netip.MustParseAddr("0.0.0.0"), proto: unix.IPPROTO_ICMP, pod: state.Endpoint{}})
		if err != nil {
			t.Error(err)
			return
		}
		unix.Close(fd)
		if after := read(); after != before {
			t.Errorf("ping_group_range is %q, was %q", after, before)
		}
	}()
	<-done
}
