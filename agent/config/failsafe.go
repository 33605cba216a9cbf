package config

import (
	"fmt"
	"strconv"
	"strings"
)

// FailSafe is a port of the host that no policy closes.
type FailSafe struct {
	Ingress bool
	Proto   uint8 // IANA number
	Port    uint16
}

var failSafeProtos = map[string]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}

// Ports reads the fail-safe ports.
func (h HostFirewall) Ports() ([]FailSafe, error) {
	var out []FailSafe
	for _, text := range h.FailSafe {
		direction, rest, ok1 := strings.Cut(text, ":")
		proto, number, ok2 := strings.Cut(rest, "/")
		n, ok3 := failSafeProtos[strings.ToUpper(proto)]
		port, err := strconv.ParseUint(number, 10, 16)
		if !ok1 || !ok2 || !ok3 || err != nil || port == 0 || direction != "ingress" && direction != "egress" {
			return nil, fmt.Errorf("%q is not a fail-safe port: write ingress:TCP/22 or egress:UDP/53", text)
		}
		out = append(out, FailSafe{Ingress: direction == "ingress", Proto: n, Port: uint16(port)})
	}
	return out, nil
}
