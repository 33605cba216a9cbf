package policylab

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	rejectIngress = netpol + "metadata: {name: refuse, annotations: {policy.weir.io/deny-response: reject}}\nspec: {podSelector: {matchLabels: {role: server}}}\n"
	rejectEgress  = netpol + "metadata: {name: refuse, annotations: {policy.weir.io/deny-response: reject}}\nspec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}\n"
	rejectDeny    = cnp + "metadata: {name: refuse, annotations: {policy.weir.io/deny-response: reject}}\nspec:\n  endpointSelector: {matchLabels: {role: server}}\n" +
		"  enableDefaultDeny: {ingress: false}\n  ingressDeny: [{fromEndpoints: [{matchLabels: {app: a}}]}]\n"
	silentIngress = netpol + "metadata: {name: refuse}\nspec: {podSelector: {matchLabels: {role: server}}}\n"
)

// soon is far below the second after which a SYN is sent again.
const soon = 900 * time.Millisecond

func TestARefusedSenderIsToldAtOnce(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		for name, policy := range map[string]string{"ingress": rejectIngress, "egress": rejectEgress, "deny": rejectDeny} {
			t.Run(name, func(t *testing.T) {
				c.apply(t, policy)
				eachFamily(t, func(t *testing.T, is4 bool) {
					for _, to := range []string{"b", "c"} { // same node, across nodes
						at := c.echoServer(t, to, is4, 7100)
						start := time.Now()
						conn, err := c.dial(t, "a", "tcp", at.String())
						if err == nil {
							conn.Close()
						}
						if took := time.Since(start); !errors.Is(err, syscall.ECONNREFUSED) || took > soon {
							t.Errorf("connect to %s: %v after %s, want ECONNREFUSED at once", to, err, took)
						}
						if err := c.askUDP(t, "a", at.String()); !errors.Is(err, prohibited(is4)) {
							t.Errorf("UDP to %s: %v, want %v", to, err, prohibited(is4))
						}
					}
				})
			})
		}
	})
}

func TestASilentDenialTellsNothing(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, silentIngress)
		at := c.addr(t, "c", true)
		if err := c.askUDP(t, "a", net.JoinHostPort(at.String(), "7100")); !isTimeout(err) {
			t.Errorf("UDP: %v, want nothing at all", err)
		}
	})
}

// prohibited is what a socket says after ICMP's "administratively prohibited".
func prohibited(is4 bool) error {
	if is4 {
		return syscall.EHOSTUNREACH
	}
	return syscall.EACCES
}

// askUDP sends a datagram and returns the error that comes back.
func (c *cluster) askUDP(t *testing.T, from, to string) error {
	t.Helper()
	conn, err := c.dial(t, from, "udp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(soon)) // fails on a closed socket only
	if _, err := conn.Write([]byte(strings.Repeat("?", 20))); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 100))
	return err
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
