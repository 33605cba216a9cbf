package packets

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"weir/datapath/link/linktest"
)

// nameServer answers, at an address of a pod or of a host, that every name is an alias of one
// that has these two addresses.
func (c *cluster) nameServer(t *testing.T, where string, is4 bool, v4, v6 netip.Addr) netip.AddrPort {
	t.Helper()
	at := netip.AddrPortFrom(c.addr(t, where, is4), 53)
	var server net.PacketConn
	err := linktest.Inside(c.netns(t, where), func() (err error) {
		server, err = net.ListenPacket("udp", at.String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for buffer := make([]byte, 512); ; {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return // the test is over
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) == nil && len(m.Questions) == 1 {
				server.WriteTo(answerTo(m, v4, v6), from)
			}
		}
	}()
	return at
}

func answerTo(m dnsmessage.Message, v4, v6 netip.Addr) []byte {
	alias := dnsmessage.MustNewName("alias.example.net.")
	m.Response = true
	add := func(name dnsmessage.Name, body dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 30}, Body: body})
	}
	add(m.Questions[0].Name, &dnsmessage.CNAMEResource{CNAME: alias})
	if m.Questions[0].Type == dnsmessage.TypeA {
		add(alias, &dnsmessage.AResource{A: v4.As4()})
	} else {
		add(alias, &dnsmessage.AAAAResource{AAAA: v6.As16()})
	}
	out, _ := m.Pack() // the client says more
	return out
}

// asksName has a pod ask for both kinds of addresses over one socket, as glibc does.
func (c *cluster) asksName(t *testing.T, pod string, server netip.AddrPort, name string) {
	t.Helper()
	conn, err := dial(c.netns(t, pod), "udp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	for i, typ := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(i)}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}}}
		q, _ := m.Pack()
		if _, err := conn.Write(q); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := conn.Read(make([]byte, 512)); err != nil {
			t.Fatalf("%s asks %s: %v", pod, server, err)
		}
	}
}

// What a pod has asked DNS for is how its flows are found: through the tunnel, from a
// server outside, which answers the node, and in every way of routing.
func TestFlowsAreFoundByTheNameThatWasAskedFor(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		world := [2]netip.Addr{c.addr(t, "world", true), c.addr(t, "world", false)}
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for _, where := range []string{"b", "c", "world"} {
				name := fmt.Sprintf("%s-%d.%s.example.org", where, time.Now().UnixNano(), strings.ReplaceAll(c.spec.Name, "_", "-"))
				server := c.nameServer(t, where, is4, world[0], world[1])
				c.asksName(t, "a", server, name+".")
				c.sees(t, "world", c.addr(t, "world", is4), "a")
				observe := func(flags ...string) string {
					return c.run(t, "n1", append([]string{"weir", "observe", "--all"}, flags...)...)
				}
				lines := func(text string) int { return strings.Count(text, "\n") }
				var to, back, answers string
				if !await(patience, func() bool {
					to, back = observe("--to-fqdn", strings.ToUpper(name)), observe("--from-fqdn", strings.Replace(name, "example", "*", 1))
					answers = observe("--type", "l7", "--protocol", "dns", "--dns-query", "^"+name)
					return lines(to) > 0 && lines(back) > 0 && lines(answers) >= 2
				}) {
					t.Errorf("asked at %s: to %s:\n%sfrom it:\n%sanswers:\n%s", where, name, to, back, answers)
					continue
				}
				if !strings.Contains(to, "default/a:") || !strings.Contains(to, " -> "+name) || !strings.Contains(to, "to-network FORWARDED (TCP Flags: SYN)") &&
					!strings.Contains(to, "to-stack FORWARDED (TCP Flags: SYN)") {
					t.Errorf("asked at %s: to %s:\n%s", where, name, to)
				}
				for _, x := range []struct{ typ, ip string }{{"A", world[0].String()}, {"AAAA", world[1].String()}} {
					want := fmt.Sprintf("dns-response passive FORWARDED (DNS Answer %q CNAMEs: \"alias.example.net.\" TTL: 30 (Query %s. %s))", x.ip, name, x.typ)
					if strings.Count(answers, want) != 1 {
						t.Errorf("asked at %s: want once %s in\n%s", where, want, answers)
					}
				}
				if lines(answers) != 2 {
					t.Errorf("asked at %s: %d answers, want each once:\n%s", where, lines(answers), answers)
				}
				if other := c.run(t, "n2", "weir", "observe", "--all", "--fqdn", "*"); lines(other) != 0 {
					t.Errorf("another node names what nobody there has asked for:\n%s", other)
				}
			}
		})
	})
}
