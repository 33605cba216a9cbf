// Package datapath is the Go side of the kernel: it mounts bpffs, opens or
// creates the pinned maps, loads programs or adopts those that are pinned, and
// attaches them to devices.
//
// The kernel is the truth: whether a program is the wanted one is read from the
// program itself, and what a map holds from the map. Nothing is flushed: a
// start reads back, compares and writes what differs. When the agent ends,
// everything stays and goes on forwarding.
//
// It decides nothing about pods, nodes or addresses; the rooms below control do.
package datapath
