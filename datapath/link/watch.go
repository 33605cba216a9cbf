package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Topic is what an Event is about.
type Topic int

// The topics one can subscribe to.
const (
	Links Topic = iota
	Addrs
	Routes
	Neighbors
)

var groups = map[Topic][]uint{
	Links:     {unix.RTNLGRP_LINK},
	Addrs:     {unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR},
	Routes:    {unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE},
	Neighbors: {unix.RTNLGRP_NEIGH},
}

// Event says that something changed, and just enough to tell whether one cares.
type Event struct {
	Topic    Topic
	Removed  bool
	Replaced bool   // a route took the place of another one
	Device   string // name; of links only
	Protocol int    // who made it; of routes and neighbours only
	Default  bool   // the default route; of routes only
}

// Subscription is an open ear to changes in one network namespace. It is an
// input of a reconcile loop: Notify and Synced are what such a loop asks for.
type Subscription struct {
	socket *nl.NetlinkSocket
	want   func(Event) bool

	mu   sync.Mutex
	wake map[chan<- struct{}]bool // told, without blocking, of every wanted event
}

// Subscribe opens a subscription in the thread's network namespace. Changes
// are kept from this moment on; Run delivers those for which want returns true.
func Subscribe(want func(Event) bool, topics ...Topic) (*Subscription, error) {
	var all []uint
	for _, t := range topics {
		all = append(all, groups[t]...)
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, all...)
	if err != nil {
		return nil, fmt.Errorf("subscribe to netlink: %w", err)
	}
	return &Subscription{socket: s, want: want, wake: map[chan<- struct{}]bool{}}, nil
}

// Run wakes those who called Notify until ctx ends, then closes the subscription.
func (s *Subscription) Run(ctx context.Context) error {
	defer s.socket.Close()
	defer context.AfterFunc(ctx, s.socket.Close)()
	for {
		messages, from, err := s.socket.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // events were lost
			s.notify()
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive from netlink: %w", err)
		case from.Pid != nl.PidKernel:
			continue
		}
		if slices.ContainsFunc(messages, s.wanted) {
			s.notify()
		}
	}
}

// Notify sends to wake after every wanted event until stop is called.
func (s *Subscription) Notify(wake chan<- struct{}) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake[wake] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.wake, wake)
	}
}

// Synced is true: the kernel knows everything at any time.
func (s *Subscription) Synced() bool { return true }

func (s *Subscription) wanted(m syscall.NetlinkMessage) bool {
	e, ok := eventOf(m)
	return ok && s.want(e)
}

func (s *Subscription) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.wake {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func eventOf(m syscall.NetlinkMessage) (Event, bool) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		name := unix.ByteSliceToString(attr(m.Data, unix.SizeofIfInfomsg, unix.IFLA_IFNAME))
		return Event{Topic: Links, Removed: m.Header.Type == unix.RTM_DELLINK, Device: name}, true
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return Event{Topic: Addrs, Removed: m.Header.Type == unix.RTM_DELADDR}, true
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		e := Event{Topic: Neighbors, Removed: m.Header.Type == unix.RTM_DELNEIGH}
		if b := attr(m.Data, unix.SizeofNdMsg, netlink.NDA_PROTOCOL); len(b) > 0 {
			e.Protocol = int(b[0])
		}
		return e, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(m.Data) < unix.SizeofRtMsg {
			return Event{}, false
		}
		r := nl.DeserializeRtMsg(m.Data)
		return Event{
			Topic:    Routes,
			Removed:  m.Header.Type == unix.RTM_DELROUTE,
			Replaced: m.Header.Flags&unix.NLM_F_REPLACE != 0,
			Protocol: int(r.Protocol),
			Default:  r.Dst_len == 0,
		}, true
	}
	return Event{}, false
}

// attr returns the first attribute of a type behind the fixed header, or nil.
func attr(data []byte, header int, kind uint16) []byte {
	if len(data) < header {
		return nil
	}
	attrs, err := nl.ParseRouteAttr(data[header:])
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Attr.Type == kind {
			return a.Value
		}
	}
	return nil
}
