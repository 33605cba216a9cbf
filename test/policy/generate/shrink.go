package generate

import (
	"maps"
	"slices"

	"weir/test/policy/oracle"
)

// Shrink drops objects, and then fields and list entries, for as long as the
// case still fails. A case at which fails panics is no longer valid, and not
// taken. It gives up after so many tries.
func Shrink(c Case, fails func(Case) bool, tries int) Case {
	try := func(smaller Case) (ok bool) {
		tries--
		defer func() {
			if recover() != nil {
				ok = false
			}
		}()
		if tries < 0 || !fails(smaller) {
			return false
		}
		c = smaller
		return true
	}
	for len(c.Packets) > 1 {
		before := len(c.Packets)
		for i := range c.Packets {
			smaller := c
			smaller.Packets = []oracle.Packet{c.Packets[i]}
			if try(smaller) {
				break
			}
		}
		if len(c.Packets) == before {
			break
		}
	}
	for again := true; again && tries > 0; {
		again = false
		for i := len(c.Objects) - 1; i >= 0; i-- {
			if c.Objects[i]["kind"] == "CiliumNode" {
				continue // without them addresses mean something else
			}
			smaller := c
			smaller.Objects = slices.Delete(slices.Clone(c.Objects), i, i+1)
			again = try(smaller) || again
		}
		for i := 0; i < len(c.Objects); i++ {
			for at := 0; ; {
				smaller := c.clone()
				steps := at
				if !prune(smaller.Objects[i], &steps) {
					break
				}
				if try(smaller) {
					again = true
				} else {
					at++
				}
				if tries < 0 {
					return c
				}
			}
		}
	}
	return c
}

// needed are fields without which an object would no longer be valid, or would
// be another.
var needed = map[string]bool{
	"apiVersion": true, "kind": true, "metadata": true, "name": true, "namespace": true, "spec": true, "status": true,
	"nodeName": true, "containers": true, "image": true, "containerPort": true, "podIP": true, "podIPs": true, "ip": true, "type": true,
	"addresses": true, "addressType": true, "ipam": true, "podCIDRs": true, "externalCIDRs": true,
	"podSelector": true, "endpointSelector": true, "nodeSelector": true, "key": true, "operator": true, "cidr": true,
	"k8sService": true, "k8sServiceSelector": true, "selector": true, "serviceName": true,
}

// whole are lists that keep their entries.
var whole = map[string]bool{"podIPs": true, "addresses": true, "podCIDRs": true, "containers": true}

// prune removes the value at which the count of values reaches zero, parents
// first, and reports whether there was one.
func prune(node any, steps *int) bool {
	switch n := node.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(n)) {
			if !needed[k] {
				if *steps == 0 {
					delete(n, k)
					return true
				}
				*steps--
			}
			if list, ok := n[k].([]any); ok {
				for i := range list {
					if !whole[k] {
						if *steps == 0 {
							n[k] = slices.Delete(list, i, i+1)
							return true
						}
						*steps--
					}
					if prune(list[i], steps) {
						return true
					}
				}
			} else if prune(n[k], steps) {
				return true
			}
		}
	case []any:
		for _, v := range n {
			if prune(v, steps) {
				return true
			}
		}
	}
	return false
}
