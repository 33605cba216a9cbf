package bpf

import "testing"

func TestACauseIsSaidWhereTheReasonAloneIsNotEnough(t *testing.T) {
	for _, tt := range []struct {
		e    Event
		want string
	}{
		{Event{Reason: uint8(DropFIB), FIB: uint8(FIBProhibited)}, "a prohibit route"},
		{Event{Reason: uint8(DropFIB), FIB: uint8(FIBBack)}, "the route leads back to the pod"},
		{Event{Reason: uint8(DropFIB), FIB: 77}, "answer 77 of the routing table"},
		{Event{Reason: uint8(DropFragNeeded), MTU: 1400}, "1400 octets fit"},
		{Event{Reason: uint8(DropFragNeeded)}, ""},
		{Event{Reason: uint8(DropFIB)}, ""}, // of programs that did not say
		{Event{Reason: uint8(DropPolicy), FIB: uint8(FIBProhibited), MTU: 1400}, ""},
	} {
		if got := tt.e.Cause(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.e, got, tt.want)
		}
		s := Step{Reason: tt.e.Reason, FIB: tt.e.FIB, MTU: tt.e.MTU}
		if got := s.Cause(); got != tt.want {
			t.Errorf("the step %+v: %q, want %q", s, got, tt.want)
		}
	}
}
