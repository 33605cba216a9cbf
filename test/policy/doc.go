// Package policytest proves that what the YAML says is what the packets get. It
// takes random clusters, policies and packets from package generate, asks for
// each packet's verdict in independent ways, and compares:
//
//  1. package oracle reads the objects;
//  2. Rows reads what source/convert made of them;
//  3. Maps reads what control/policy wrote for the programs;
//  4. the programs themselves, run by the kernel over those maps.
//
// The readers here follow the comments of state/policy.go and bpf/layout.h. They
// share no code with what they check; that meets them in world_test.go only.
package policytest
