package policylab

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
)

const (
	bothWays = netpol + "metadata: {name: closed}\nspec:\n  podSelector: {matchLabels: {app: a}}\n  policyTypes: [Ingress, Egress]\n  egress: [{ports: [{port: 80}]}]\n"
	open7200 = netpol + "metadata: {name: judge}\nspec:\n  podSelector: {matchLabels: {role: server}}\n  ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [a, x]}]}}]}]\n"
	only7200 = netpol + "metadata: {name: judge}\nspec:\n  podSelector: {matchLabels: {role: server}}\n  ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [a]}]}}]}]\n"
)

// TestRowM5AnswersOfAnAllowedConnectionPass: neither end has a rule for what
// comes back, and the opener's ingress is closed.
func TestRowM5AnswersOfAnAllowedConnectionPass(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, bothWays)
		eachFamily(t, func(t *testing.T, is4 bool) {
			for _, to := range []string{"b", "c"} {
				if err := c.exchange(t, "a", c.echoServer(t, to, is4, 80), 100_000); err != nil {
					t.Errorf("a to %s port 80: %v", to, err)
				}
			}
		})
		c.judge(t, `
			a>b tcp/81 never
			b>a tcp/80 never
			c>a udp/80 never`)
	})
}

// exchange sends bytes over TCP and takes them back.
func (c *cluster) exchange(t *testing.T, from string, to netip.AddrPort, size int) error {
	t.Helper()
	conn, err := c.dial(t, from, "tcp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience)) // fails on a closed socket only
	want := bytes.Repeat([]byte("0123456789"), size/10)
	go func() {
		_, _ = conn.Write(want) // what is missing fails the comparison
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err == nil && !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d", len(got), len(want))
	}
	return err
}

func TestAChangeJudgesOpenConnectionsAgain(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.apply(t, open7200)
		var stays, goes []*stream
		for _, is4 := range []bool{true, false} {
			for _, to := range []string{"b", "c"} {
				stays = append(stays, c.startStream(t, "tcp", "a", to, is4, 7200))
				goes = append(goes, c.startStream(t, "tcp", "x", to, is4, 7201))
			}
		}
		running := func(list []*stream, since []uint64) bool {
			for i, s := range list {
				if s.echoed.Load() < since[i]+5 {
					return false
				}
			}
			return true
		}
		if !await(patience, func() bool { return running(append(stays, goes...), make([]uint64, 8)) }) {
			t.Fatal("the streams do not run")
		}
		since := c.lastDrops(t)
		c.put(t, only7200)
		for i, s := range goes {
			dropped := func() bool { return c.streamDropped(t, s, since) }
			if !await(patience, dropped) {
				t.Errorf("stream %d of x goes on: %d records came back", i, s.echoed.Load())
			}
		}
		var stopped []uint64
		for _, s := range goes {
			stopped = append(stopped, s.echoed.Load())
		}
		before := []uint64{}
		for _, s := range stays {
			before = append(before, s.echoed.Load())
		}
		if !await(patience, func() bool { return running(stays, before) }) {
			t.Error("the streams that are still allowed do not run")
		}
		for i, s := range goes {
			if n := s.echoed.Load(); n != stopped[i] {
				t.Errorf("stream %d of x: %d more records came back after its first drop", i, n-stopped[i])
			}
		}
		c.put(t, open7200)
		if !await(patience, func() bool { return running(goes, stopped) }) {
			t.Error("streams do not go on when they are allowed again")
		}
		for i, s := range append(stays, goes...) {
			if err := s.finish(); err != nil {
				t.Errorf("stream %d: %v", i, err)
			}
		}
	})
}

// streamDropped reports whether a packet of the stream's client was dropped by policy.
func (c *cluster) streamDropped(t *testing.T, s *stream, since map[string]uint64) bool {
	t.Helper()
	for _, node := range nodes {
		for _, d := range c.drops(t, node, since[node]) {
			if d.Source == s.conn.LocalAddr().String() && d.Dest == s.conn.RemoteAddr().String() && d.Reason == "Policy denied" {
				return true
			}
		}
	}
	return false
}

// transfers returns the TCP connections of a node's table between two ends.
func (c *cluster) transfers(t *testing.T, node, source, dest string) []agent.Connection {
	t.Helper()
	var out []agent.Connection
	for _, e := range weirJSON[agent.Connections](t, c, node, "ct", "list", "--proto", "tcp").Entries {
		if strings.HasPrefix(e.Source, source) && strings.HasPrefix(e.Dest, dest) {
			out = append(out, e)
		}
	}
	return out
}
