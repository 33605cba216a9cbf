package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// talk is that one end speaks to another.
type talk struct {
	From, To string // "NAMESPACE/WORKLOAD", "world", "host", "kube-apiserver"
	Port     uint16
	Proto    string // TCP, UDP, ICMP; empty: TCP
	Service  bool   // the opener named the service
	Name     string // by which the opener has asked DNS for the other's address, just before
	IPv6     bool
	Answer   bool    // to it, and not the request: of a socket, it names no service
	Outcome  string  // empty: let through; allowed: by policies; or a key of drops
	Rate     float64 // of play: in a second
}

// drops are the ways not to arrive.
var drops = map[string]struct {
	reason bpf.Reason
	rule   uint32 // that denied
	in     uint8  // 1: on the way in
}{
	"denied":     {bpf.DropPolicyDeny, keepsOut, 1},
	"isolated":   {bpf.DropPolicy, 0, 1},
	"hostile":    {bpf.DropPolicyDeny, hostileRule, 0},
	"spoofed":    {bpf.DropInvalidSourceIP, 0, 0},
	"unroutable": {bpf.DropUnroutable, 0, 0},
	"no-backend": {bpf.DropNoBackend, 0, 0},
}

var protocols = map[string]uint8{"": 6, "TCP": 6, "UDP": 17, "ICMP": 1}

// say makes a flow of it, which the node of the sender tells, or that which keeps it out.
func (c *cluster) say(t talk, when time.Time) error {
	from, known := c.ends[t.From]
	to, too := c.ends[t.To]
	proto, has := protocols[t.Proto]
	if !known || !too || !has {
		return fmt.Errorf("nobody says %+v", t)
	}
	family, number := 0, uint8(2)
	if t.IPv6 {
		family, number = 1, 10
	}
	if t.IPv6 && proto == 1 {
		proto = 58
	}
	port := uint16(32768 + c.opened.Add(1)%28000)
	e := bpf.Event{Src: bpf.AddrFrom(from.addrs[family]), Dst: bpf.AddrFrom(to.addrs[family]), SrcIdentity: from.identity, DstIdentity: to.identity,
		Sport: bpf.Network(port), Dport: bpf.Network(t.Port), Family: number, Proto: proto, TCPFlags: 2, Ifindex: uint32(bpf.IfindexBase) + from.endpoint,
		Kind: uint8(bpf.EventNew), Reason: uint8(bpf.ReasonToEndpoint), Place: uint8(bpf.PlaceFromPod), Endpoint: from.endpoint}
	if from.endpoint == 0 {
		e.Place, e.Ifindex = uint8(bpf.PlaceFromNetdev), 2
	}
	at := c.nodes[from.node]
	switch {
	case to.endpoint == 0:
		e.Reason = uint8(bpf.ReasonToNetwork)
	case to.node != from.node:
		e.Reason = uint8(bpf.ReasonToOverlay)
	}
	if t.Service {
		e.Asked, e.AskedPort = bpf.AddrFrom(to.service[family]), bpf.Network(t.Port)
	}
	if t.Outcome == "allowed" {
		e.Rule = [2]uint32{letsShopOut, letsShopIn}
	} else if t.Outcome != "" {
		d, ok := drops[t.Outcome]
		if !ok {
			return fmt.Errorf("outcome: %q", t.Outcome)
		}
		e.Kind, e.Reason, e.Direction, e.Rule[d.in] = uint8(bpf.EventDrop), uint8(d.reason), d.in, d.rule
		if d.in == 1 {
			e.Endpoint, e.Ifindex, at = to.endpoint, uint32(bpf.IfindexBase)+to.endpoint, c.nodes[to.node]
		}
		if t.Outcome == "no-backend" {
			e.Dst, e.DstIdentity = bpf.AddrFrom(to.service[family]), 0
		}
	}
	if t.Answer {
		answer(&e)
	}
	if t.Name != "" {
		if err := at.hear(c.ends["kube-system/coredns"], &e, t.Name, when); err != nil {
			return err
		}
	}
	at.tell(&e, when)
	return nil
}

// answer makes the event that of the first answer to it.
func answer(e *bpf.Event) {
	e.Kind, e.Reply, e.TCPFlags, e.Asked, e.AskedPort = uint8(bpf.EventGoing), 1, 0x12, bpf.Addr{}, 0
	e.Src, e.Dst, e.Sport, e.Dport = e.Dst, e.Src, e.Dport, e.Sport
	e.SrcIdentity, e.DstIdentity = e.DstIdentity, e.SrcIdentity
}

// hear is an answer of a DNS server that the sender of e got: the receiver's address has that name.
func (n *node) hear(dns end, e *bpf.Event, name string, when time.Time) error {
	q, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return fmt.Errorf("name %q: %w", name, err)
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{{Name: q, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}}}
	a := e.Dst.Netip()
	var body dnsmessage.ResourceBody = &dnsmessage.AAAAResource{AAAA: a.As16()}
	if a.Is4() {
		m.Questions[0].Type, body = dnsmessage.TypeA, &dnsmessage.AResource{A: a.As4()}
	}
	m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q, Class: dnsmessage.ClassINET, TTL: 30}, Body: body}}
	payload, err := m.Pack()
	if err != nil {
		return err
	}
	server := bpf.AddrFrom(dns.addrs[0])
	if !a.Is4() {
		server = bpf.AddrFrom(dns.addrs[1])
	}
	x := &bpf.DNSAnswer{Time: monotonic(when), Src: server, Asked: server, Dst: e.Src, Sport: bpf.Network(53), AskedPort: bpf.Network(53), Dport: e.Sport,
		SrcIdentity: dns.identity, DstIdentity: e.SrcIdentity, Family: e.Family, Place: uint8(bpf.PlaceFromOverlay), Ifindex: 2, Len: uint16(len(payload))}
	x.Copied = uint16(copy(x.Payload[:], payload))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.observer.Hear(x)
	return nil
}

// monotonic is the clock that programs read, at a moment.
func monotonic(when time.Time) uint64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return uint64(now.Nano() - int64(time.Since(when)))
}

func (n *node) tell(e *bpf.Event, when time.Time) {
	e.Time = monotonic(when)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.observer.Add(e)
}

// flood is many flows at once, of many that have no name.
func (c *cluster) flood(count int) error {
	for i := range count {
		e := bpf.Event{Src: bpf.AddrFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8 & 7), byte(i)})), Dst: bpf.AddrFrom(c.ends["shop/frontend"].addrs[0]), DstIdentity: c.ends["shop/frontend"].identity,
			Sport: bpf.Network(uint16(i)), Dport: bpf.Network(80), Family: 2, Proto: 6, TCPFlags: 2, Kind: uint8(bpf.EventNew), Reason: uint8(bpf.ReasonToEndpoint), Place: uint8(bpf.PlaceFromNetdev)}
		c.nodes[i%len(c.nodes)].tell(&e, time.Now())
	}
	return nil
}

// scene is an ordinary cluster, in which three things do not arrive.
var scene = []talk{
	{From: "world", To: "shop/frontend", Port: 8080, Rate: 24},
	{From: "world", To: "shop/frontend", Port: 8080, Rate: 9, IPv6: true},
	{From: "shop/frontend", To: "shop/catalog", Port: 80, Service: true, Rate: 18},
	{From: "shop/frontend", To: "shop/cart", Port: 80, Service: true, Rate: 11},
	{From: "shop/cart", To: "shop/checkout", Port: 80, Service: true, Rate: 2, Outcome: "allowed"},
	{From: "shop/checkout", To: "payments/gateway", Port: 80, Service: true, Rate: 2, Outcome: "allowed"},
	{From: "shop/cart", To: "data/redis", Port: 6379, Rate: 14},
	{From: "shop/catalog", To: "data/postgres", Port: 5432, Rate: 7, IPv6: true},
	{From: "payments/gateway", To: "payments/ledger", Port: 80, Service: true, Rate: 2},
	{From: "payments/ledger", To: "data/postgres", Port: 5432, Rate: 3},
	{From: "payments/gateway", To: "world", Port: 443, Rate: 1.5, Name: "api.bank.example"},
	{From: "shop/frontend", To: "kube-system/coredns", Port: 53, Proto: "UDP", Service: true, Rate: 4},
	{From: "payments/gateway", To: "kube-system/coredns", Port: 53, Proto: "UDP", Service: true, Rate: 1, IPv6: true},
	{From: "kube-system/coredns", To: "kube-apiserver", Port: 6443, Service: true, Rate: 0.4},
	{From: "monitoring/prometheus", To: "shop/frontend", Port: 9090, Rate: 0.6},
	{From: "monitoring/prometheus", To: "data/postgres", Port: 9187, Rate: 0.5},
	{From: "host", To: "kube-system/coredns", Port: 8181, Rate: 0.5},
	{From: "shop/frontend", To: "data/postgres", Port: 5432, Rate: 0.7, Outcome: "denied"},
	{From: "monitoring/prometheus", To: "payments/ledger", Port: 9100, Rate: 0.3, Outcome: "isolated"},
	{From: "shop/catalog", To: "world", Port: 25, Rate: 0.15, Outcome: "unroutable", IPv6: true},
}

// play goes on with the scene until its result is called.
func (c *cluster) play(ctx context.Context) (still func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		due := make([]float64, len(scene))
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for i, t := range scene {
				for due[i] += t.Rate / 20; due[i] >= 1; due[i]-- {
					if err := c.say(t, time.Now()); err != nil {
						panic(strings.TrimSpace(err.Error())) // the scene names who is there
					}
				}
			}
			<-tick.C
		}
	})
	return func() { cancel(); wait.Wait() }
}
