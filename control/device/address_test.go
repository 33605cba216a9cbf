package device

import (
	"fmt"
	"net/netip"
	"testing"

	"weir/state"
)

func TestAddressesAreThoseOfAllDevicesAndTheirBroadcasts(t *testing.T) {
	on := func(name string, prefixes ...string) fact {
		f := fact{Device: state.Device{Name: name}}
		for _, p := range prefixes {
			f.Addrs = append(f.Addrs, netip.MustParsePrefix(p))
		}
		return f
	}
	got := fmt.Sprint(addresses([]fact{on("lo", "192.0.2.10/32"), on("eth0", "172.18.0.2/16", "2001:db8::2/64"), on("br0", "10.1.1.129/25", "172.18.0.2/16", "10.2.0.0/31")}))
	want := "[{192.0.2.10 lo} {172.18.0.2 eth0} {2001:db8::2 eth0} {10.1.1.129 br0} {10.2.0.0 br0} {172.18.255.255 eth0} {10.1.1.255 br0}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
