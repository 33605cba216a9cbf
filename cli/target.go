package cli

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// target is the other end of a connection: PEER[:PORT[/PROTO]].
type target struct {
	peer  string
	port  uint16 // of ICMP the type
	proto string // "" where only a peer was given
}

const identityPrefix = "identity:"

var (
	podPattern      = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`)
	identityPattern = regexp.MustCompile(`^identity:[0-9]+$`)
	// entities are words of policies that are many ends, and none of them.
	entities  = []string{"all", "cluster", "remote-node", "health", "init", "unmanaged", "ingress", "none", "kube-apiserver"}
	portless  = []string{"VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH"}
	protocols = append([]string{"TCP", "UDP", "SCTP", "ICMP", "ICMPv6"}, portless...)
)

// Types of an ICMP echo request (RFC 792, RFC 4443): what ping sends.
const (
	echoRequest   = 8
	echoRequestV6 = 128
)

// parseTarget takes a target apart.
func parseTarget(s string) (target, error) {
	end, port, both := splitTarget(s)
	peer, err := parsePeer(end)
	if err != nil || !both {
		return target{peer: peer}, err
	}
	t := target{peer: peer}
	a, err := netip.ParseAddr(peer)
	t.port, t.proto, err = parsePort(port, err == nil && a.Is6())
	return t, err
}

// splitTarget cuts where the port begins. Colons belong to an IPv6 address unless
// it stands in brackets, and to "identity:".
func splitTarget(s string) (peer, port string, both bool) {
	if inside, rest, ok := strings.Cut(s, "]"); ok && strings.HasPrefix(s, "[") && isAddress(inside[1:]) {
		if rest == "" {
			return inside[1:], "", false
		}
		if port, ok := strings.CutPrefix(rest, ":"); ok {
			return inside[1:], port, true
		}
	}
	if strings.HasPrefix(s, "[") {
		return s, "", false // nobody's name
	}
	if isAddress(s) {
		return s, "", false
	}
	if rest, ok := strings.CutPrefix(s, identityPrefix); ok {
		peer, port, both = strings.Cut(rest, ":")
		return identityPrefix + peer, port, both
	}
	return strings.Cut(s, ":")
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// parsePeer refuses what cannot name an end, before the agent is asked for it.
func parsePeer(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().String(), nil
	}
	if s == theHost || s == "world" || podPattern.MatchString(s) || identityPattern.MatchString(s) {
		return s, nil
	}
	if podPattern.MatchString("default/"+s) && !looksLikeAddress(s) && !slices.Contains(entities, s) {
		return "default/" + s, nil // as kubectl takes a name
	}
	return "", badPeer(s)
}

// looksLikeAddress reports whether s was meant to be an IPv4 address: digits and
// dots, which may be a pod's name, too.
func looksLikeAddress(s string) bool { return strings.Trim(s, "0123456789.") == "" }

func badPeer(s string) error {
	return fmt.Errorf("%q is not an end of a connection: give NAMESPACE/POD, an address (IPv6 in brackets when a port follows), host, world or identity:NUMBER", s)
}

// parsePort reads PORT[/PROTO], or a protocol alone. ipv6 says that the peer is
// an IPv6 address, so that its ICMP is ICMPv6.
func parsePort(s string, ipv6 bool) (uint16, string, error) {
	number, proto, both := strings.Cut(s, "/")
	if !both && isName(number) {
		number, proto = "", number
	}
	if both && proto == "" {
		return 0, "", badProtocol(proto)
	}
	proto = strings.ToUpper(proto)
	if proto == "ICMP" && ipv6 {
		proto = "ICMPV6"
	}
	switch proto {
	case "", "TCP", "UDP", "SCTP":
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || port == 0 {
			return 0, "", fmt.Errorf("%q is not a port: use 1 to 65535, such as :80 or :53/UDP", number)
		}
		return uint16(port), proto, nil
	case "ICMP":
		t, err := parseType(number, echoRequest)
		return t, proto, err
	case "ICMPV6":
		t, err := parseType(number, echoRequestV6)
		return t, "ICMPv6", err
	}
	for _, known := range portless {
		if proto != known {
			continue
		}
		if number != "" && number != "0" {
			return 0, "", fmt.Errorf("port %q: %s has no ports: write :%s", number, proto, proto)
		}
		return 0, proto, nil
	}
	return 0, "", badProtocol(proto)
}

func badProtocol(s string) error {
	return fmt.Errorf("%q is not a protocol: known are %s", s, strings.Join(protocols, ", "))
}

func isName(s string) bool { return s != "" && (s[0] < '0' || s[0] > '9') && s[0] != '-' }

func parseType(s string, missing uint16) (uint16, error) {
	if s == "" {
		return missing, nil
	}
	t, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("%q is not an ICMP type: use 0 to 255, such as :8/ICMP", s)
	}
	return uint16(t), nil
}
