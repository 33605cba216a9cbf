package state

import "testing"

func TestProtocolsHaveOneNameAndAreKnownByIt(t *testing.T) {
	for number, want := range map[uint8]string{6: "TCP", 17: "UDP", 132: "SCTP", 1: "ICMPv4", 58: "ICMPv6", 47: "GRE", 112: "VRRP", 99: "protocol 99"} {
		if got := ProtoName(number); got != want {
			t.Errorf("%d is %q, want %q", number, got, want)
		}
		if got, ok := ProtoNumber(want); ok != (number != 99) || ok && got != number {
			t.Errorf("%q is %d %v, want %d", want, got, ok, number)
		}
	}
	for name, want := range map[string]uint8{"tcp": 6, "ICMP": 1, "ICMPV4": 1, "ICMPV6": 58} {
		if got, ok := ProtoNumber(name); !ok || got != want {
			t.Errorf("%q is %d %v, want %d", name, got, ok, want)
		}
	}
	if _, ok := ProtoNumber(""); ok {
		t.Error("nothing is a protocol")
	}
}
