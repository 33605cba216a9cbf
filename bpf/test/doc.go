// Package bpftest says what becomes of a packet: each case is a name, the
// content of the maps, a packet, and what the program must make of it: the
// verdict, the bytes, and the one counter that rises.
//
// The programs run in the kernel by BPF_PROG_TEST_RUN, without a network. What
// that cannot show (VLAN tags, checksums left to a device, where a redirect
// ends) is in live_test.go, over veth pairs in namespaces of their own. There is
// no code here but tests; loading and attaching are package datapath's.
package bpftest
