package bpf

import "fmt"

// Cause is what the reason of a drop alone does not say; empty: it says everything.
func (e *Event) Cause() string { return cause(Reason(e.Reason), FIBAnswer(e.FIB), e.MTU) }

// Cause is the same of a step of a packet walk.
func (s *Step) Cause() string { return cause(Reason(s.Reason), FIBAnswer(s.FIB), s.MTU) }

func cause(r Reason, fib FIBAnswer, mtu uint16) string {
	switch {
	case r == DropFIB && fib > 0:
		return fib.String()
	case r == DropFragNeeded && mtu > 0:
		return fmt.Sprintf("%d octets fit", mtu)
	}
	return ""
}

var fibText = map[FIBAnswer]string{
	FIBBlackhole:     "a blackhole route",
	FIBUnreachable:   "an unreachable route",
	FIBProhibited:    "a prohibit route",
	FIBNotForwarded:  "no route, or one to this node itself",
	FIBForwardingOff: "forwarding is off on the device",
	FIBEncapsulated:  "the route has a tunnel of its own",
	FIBBack:          "the route leads back to the pod",
}

// String is "a prohibit route", as in `weir drops`.
func (f FIBAnswer) String() string {
	if s, ok := fibText[f]; ok {
		return s
	}
	return fmt.Sprintf("answer %d of the routing table", uint32(f))
}
