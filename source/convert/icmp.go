package convert

import (
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"

	v1 "weir/api/v1"
	"weir/state"
)

// maxICMPFields is how many types one icmps may list, as the API says.
const maxICMPFields = 40

// icmpPorts converts the icmps of a rule.
func icmpPorts(rule where, icmps []v1.ICMPRule) ([]state.PolicyPort, error) {
	var out []state.PolicyPort
	for i, o := range icmps {
		w := rule.item("icmps", i)
		if o.Fields == nil {
			return nil, w.in("fields").refuse("is missing: list the types, such as {family: IPv4, type: EchoRequest}")
		}
		if n := len(o.Fields); n > maxICMPFields {
			return nil, w.in("fields").refuse("has %d elements, and %d are possible: write the others into another icmps", n, maxICMPFields)
		}
		for j, f := range o.Fields {
			p, err := icmpPort(w.item("fields", j), rule, f)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func icmpPort(w, rule where, f v1.ICMPField) (state.PolicyPort, error) {
	p := state.PolicyPort{Path: w.beyond(rule), Proto: state.ProtoICMP}
	names := icmpTypes
	switch f.Family {
	case "", "IPv4":
	case "IPv6":
		p.Proto, names = state.ProtoICMPv6, icmpv6Types
	default:
		return p, w.in("family").refuse("%q is no family: use %s", f.Family, oneOf(f.Family, []string{"IPv4", "IPv6"}))
	}
	at := w.in("type")
	if f.Type == nil {
		return p, at.refuse("is missing: write a number or a name, such as EchoRequest")
	}
	number := int(f.Type.IntVal)
	if f.Type.Type == intstr.String {
		n, err := strconv.Atoi(f.Type.StrVal)
		named, known := names[f.Type.StrVal]
		switch {
		case known:
			n = int(named)
		case err != nil:
			return p, at.refuse("%q is no type of %s: use 0 to 255, or one of %s", f.Type.StrVal, or(f.Family, "IPv4"), oneOf(f.Type.StrVal, slices.Sorted(maps.Keys(names))))
		}
		number = n
	}
	if number < 0 || number > 255 {
		return p, at.refuse("%d is no type: use 0 to 255 or a name", number)
	}
	p.First, p.Last = uint16(number), uint16(number)
	return p, nil
}

// icmpTypes are the names that the API has for types of ICMP (IANA).
var icmpTypes = map[string]uint8{
	"EchoReply": 0, "DestinationUnreachable": 3, "Redirect": 5, "Echo": 8, "EchoRequest": 8,
	"RouterAdvertisement": 9, "RouterSelection": 10, "TimeExceeded": 11, "ParameterProblem": 12,
	"Timestamp": 13, "TimestampReply": 14, "Photuris": 40, "ExtendedEchoRequest": 42, "ExtendedEcho Request": 42,
	"ExtendedEchoReply": 43, "ExtendedEcho Reply": 43,
}

// icmpv6Types likewise for ICMPv6.
var icmpv6Types = map[string]uint8{
	"DestinationUnreachable": 1, "PacketTooBig": 2, "TimeExceeded": 3, "ParameterProblem": 4,
	"EchoRequest": 128, "EchoReply": 129,
	"MulticastListenerQuery": 130, "MulticastListenerReport": 131, "MulticastListenerDone": 132,
	"RouterSolicitation": 133, "RouterAdvertisement": 134, "NeighborSolicitation": 135, "NeighborAdvertisement": 136,
	"RedirectMessage": 137, "RouterRenumbering": 138, "ICMPNodeInformationQuery": 139, "ICMPNodeInformationResponse": 140,
	"InverseNeighborDiscoverySolicitation": 141, "InverseNeighborDiscoveryAdvertisement": 142,
	"HomeAgentAddressDiscoveryRequest": 144, "HomeAgentAddressDiscoveryReply": 145,
	"MobilePrefixSolicitation": 146, "MobilePrefixAdvertisement": 147,
	"DuplicateAddressRequestCodeSuffix": 157, "DuplicateAddressConfirmationCodeSuffix": 158,
	"ExtendedEchoRequest": 160, "ExtendedEchoReply": 161,
}
