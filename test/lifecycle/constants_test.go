package lifecycle

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/lab"
)

// waitReady is how long an agent may take to bring endpoints back.
const waitReady = 5 * time.Second

// constantText is a constant of the programs as `weir config` writes it.
func constantText(name string, b []byte) string {
	switch {
	case len(b) == 16 && name != "vlan_bypass":
		return netip.AddrFrom16([16]byte(b)).Unmap().String()
	case name == "build":
		return fmt.Sprintf("%016x", binary.NativeEndian.Uint64(b))
	case name == "vlan_bypass":
		var out []string
		for i := 0; i < len(b); i += 2 {
			out = append(out, fmt.Sprint(binary.NativeEndian.Uint16(b[i:])))
		}
		return strings.Join(out, " ")
	case name == "failsafe":
		var out []string
		for i := 0; i < len(b); i += 4 {
			if port := binary.NativeEndian.Uint32(b[i:]); port != 0 {
				out = append(out, failSafeText(port))
			}
		}
		return strings.Join(out, ",")
	case name == "tunnel_port": // as on the wire
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case len(b) == 1:
		return fmt.Sprint(b[0])
	case len(b) == 2:
		return fmt.Sprint(binary.NativeEndian.Uint16(b))
	case len(b) == 8:
		return fmt.Sprint(binary.NativeEndian.Uint64(b))
	default:
		return fmt.Sprint(binary.NativeEndian.Uint32(b))
	}
}

// failSafeText is a fail-safe port as the configuration writes it.
func failSafeText(port uint32) string {
	direction := map[uint32]string{0: "egress", 1: "ingress"}[port>>24]
	proto := map[uint8]string{6: "TCP", 17: "UDP", 132: "SCTP"}[uint8(port>>16)]
	return fmt.Sprintf("%s:%s/%d", direction, proto, uint16(port))
}

// agentWith starts an agent of node n1 with one more setting; it must end.
func agentWith(t *testing.T, l *lab.Lab, settings ...string) lab.Result {
	t.Helper()
	argv := []string{"weir-agent", "-config", filepath.Join(node(t, l, "n1").Dir, "weir.yaml")}
	for _, s := range settings {
		argv = append(argv, "-set", s)
	}
	return l.Exec(t.Context(), "n1", argv...)
}

func removePin(t *testing.T, n lab.Node, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(tree(n), name)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
