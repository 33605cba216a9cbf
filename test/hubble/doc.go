// Package hubble asks what Weir serves with the types that Hubble's own clients have: the
// generated ones of Cilium's API. It is a module of its own, so that they are nobody's
// dependency, and since two packages of the same messages cannot be in one program.
package hubble
