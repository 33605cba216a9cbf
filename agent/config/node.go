package config

import (
	"errors"
	"fmt"
	"net/netip"
)

// CheckNode reports what is wrong with the pod CIDRs that the cluster gave
// this node, all of it joined: podCIDRs are the node's, underlay the prefixes
// of its devices. It needs both, so it cannot be part of Validate.
func CheckNode(cfg Config, podCIDRs, underlay []netip.Prefix) error {
	var errs []error
	for i, p := range podCIDRs {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("pod CIDR %d of node %s is invalid: give the node a CIDR such as 10.0.1.0/24 or fd00::100/120", i+1, cfg.NodeName))
			continue
		}
		if p != p.Masked() {
			errs = append(errs, fmt.Errorf("pod CIDR %s of node %s has host bits set: write %s", p, cfg.NodeName, p.Masked()))
		}
		for _, q := range podCIDRs[:i] {
			if q.IsValid() && p.Overlaps(q) {
				errs = append(errs, fmt.Errorf("pod CIDRs %s and %s of node %s overlap: keep one", q, p, cfg.NodeName))
			}
		}
		for _, u := range underlay {
			if u.IsValid() && p.Overlaps(u) {
				errs = append(errs, fmt.Errorf("pod CIDR %s of node %s collides with the underlay network %s: "+
					"pods would shadow hosts of the underlay; choose a pool that does not contain %s", p, cfg.NodeName, u.Masked(), u.Masked()))
			}
		}
	}
	errs = append(errs, missing(cfg.IPv4.Enabled, true, cfg.NodeName, podCIDRs), missing(cfg.IPv6.Enabled, false, cfg.NodeName, podCIDRs))
	return errors.Join(errs...)
}

func missing(enabled, is4 bool, node string, podCIDRs []netip.Prefix) error {
	if !enabled {
		return nil
	}
	for _, p := range podCIDRs {
		if p.IsValid() && p.Addr().Is4() == is4 {
			return nil
		}
	}
	family, key := "IPv6", "ipv6.enabled"
	if is4 {
		family, key = "IPv4", "ipv4.enabled"
	}
	return fmt.Errorf("node %s has no %s pod CIDR: give it one in CiliumNode spec.ipam.podCIDRs, or set %s to false", node, family, key)
}
