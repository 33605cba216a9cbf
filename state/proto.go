package state

import (
	"fmt"
	"strings"
)

// protocols are the ones that objects and people name, by IANA number.
var protocols = map[uint8]string{
	ProtoTCP: "TCP", ProtoUDP: "UDP", ProtoSCTP: "SCTP", ProtoICMP: "ICMPv4", ProtoICMPv6: "ICMPv6",
	2: "IGMP", 4: "IPIP", 41: "IPV6", 47: "GRE", 50: "ESP", 51: "AH", 112: "VRRP",
}

// ProtoName is the name of a protocol: "TCP"; of others "protocol 99".
func ProtoName(number uint8) string {
	if name, ok := protocols[number]; ok {
		return name
	}
	return fmt.Sprintf("protocol %d", number)
}

// ProtoNumber is the number of a name, in whichever case. ICMP is that of IPv4.
func ProtoNumber(name string) (number uint8, ok bool) {
	if strings.EqualFold(name, "ICMP") {
		return ProtoICMP, true
	}
	for number, known := range protocols {
		if strings.EqualFold(name, known) {
			return number, true
		}
	}
	return 0, false
}
