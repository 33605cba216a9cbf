// Package ipam deals out the addresses of one node's pods: every address of
// the node's pod CIDRs at most once at a time.
//
// A freed address is not dealt out again at once, because other nodes and
// long connections may remember who had it: the search goes on where it last
// ended (next fit).
//
// The package keeps nothing on disk: at start, whoever has addresses claims
// them. It does not decide which CIDRs the node has; that is package operator.
package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
)

// Family is an address family.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// ErrExhausted is wrapped by Allocate when no address is left.
var ErrExhausted = errors.New("addresses exhausted")

// ErrTaken is wrapped by Claim when the address is in use or reserved.
var ErrTaken = errors.New("address taken")

// Pool is the addresses of one node. It may be used concurrently.
type Pool struct {
	node string

	mu       sync.Mutex
	blocks   []*block            // in order of preference
	used     map[netip.Addr]bool // also those outside of the blocks
	reserved map[netip.Addr]bool // the router and the health endpoint have them
	withheld map[netip.Prefix]string
}

// New returns a pool without addresses; node is for messages.
func New(node string) *Pool {
	return &Pool{node: node, used: map[netip.Addr]bool{}, reserved: map[netip.Addr]bool{}}
}

// SetCIDRs makes these the node's pod CIDRs, in order of preference, and these
// the addresses that no pod gets. Addresses in use stay so, also outside of the
// CIDRs. When it returns an error, nothing has changed.
func (p *Pool) SetCIDRs(cidrs []netip.Prefix, reserved []netip.Addr) error {
	for i, c := range cidrs {
		if !c.IsValid() || c != c.Masked() {
			return fmt.Errorf("pod CIDR %s of node %s: want a network address and a mask", c, p.node)
		}
		for _, b := range cidrs[:i] {
			if b.Overlaps(c) {
				return fmt.Errorf("pod CIDRs %s and %s of node %s overlap: keep one", b, c, p.node)
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := map[netip.Prefix]netip.Addr{}
	for _, b := range p.blocks {
		old[b.cidr] = b.next
	}
	p.reserved = map[netip.Addr]bool{}
	for _, a := range reserved {
		p.reserved[a] = true
	}
	p.blocks = nil
	for _, c := range cidrs {
		b := newBlock(c)
		if next, ok := old[c]; ok {
			b.next = next
		}
		p.blocks = append(p.blocks, b)
	}
	p.count()
	return nil
}

// Withhold makes these the CIDRs that no new pod gets an address of, and says why. Whoever
// has one keeps it.
func (p *Pool) Withhold(why map[netip.Prefix]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.withheld = why
}

// count recounts what each block has in use.
func (p *Pool) count() {
	for a := range p.reserved {
		if b := p.block(a); b != nil {
			b.taken++
		}
	}
	for a := range p.used {
		if b := p.block(a); b != nil && !p.reserved[a] {
			b.taken++
		}
	}
}

// Allocate takes a free address of the family.
func (p *Pool) Allocate(f Family) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.blocks {
		if familyOf(b.cidr.Addr()) != f || b.taken >= b.capacity() || p.withheld[b.cidr] != "" {
			continue
		}
		a := b.next
		for p.used[a] || p.reserved[a] {
			a = b.after(a)
		}
		b.next = b.after(a)
		b.taken++
		p.used[a] = true
		return a, nil
	}
	return netip.Addr{}, p.exhausted(f)
}

// Claim takes this very address: an endpoint that outlived the agent has it.
// It need not be in a CIDR of the node.
func (p *Pool) Claim(a netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !a.IsValid() || a.Is4In6() || a.Zone() != "":
		return fmt.Errorf("claim %s on node %s: not an address of a pod", a, p.node)
	case p.reserved[a]:
		return fmt.Errorf("claim %s on node %s: %w: it is the router's or the health endpoint's", a, p.node, ErrTaken)
	case p.used[a]:
		return fmt.Errorf("claim %s on node %s: %w: another pod has it", a, p.node, ErrTaken)
	}
	p.used[a] = true
	if b := p.block(a); b != nil && b.usable(a) {
		b.taken++
		if !a.Less(b.next) {
			b.next = b.after(a)
		}
	}
	return nil
}

// Release frees the address. One that is not in use is left alone.
func (p *Pool) Release(a netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.used[a] {
		return
	}
	delete(p.used, a)
	if b := p.block(a); b != nil && !p.reserved[a] {
		b.taken--
	}
}

// Usage is how full a CIDR is.
type Usage struct {
	CIDR      netip.Prefix
	Allocated uint64 // by pods, router and health endpoint
	Capacity  uint64 // usable addresses, saturated at 2^63-1
}

// Usage returns the node's CIDRs in order of preference.
func (p *Pool) Usage() []Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Usage
	for _, b := range p.blocks {
		out = append(out, Usage{CIDR: b.cidr, Allocated: b.taken, Capacity: b.capacity()})
	}
	return out
}

// block returns the block of which a is a usable address, or nil.
func (p *Pool) block(a netip.Addr) *block {
	for _, b := range p.blocks {
		if b.usable(a) {
			return b
		}
	}
	return nil
}

func (p *Pool) exhausted(f Family) error {
	var full []string
	for _, b := range p.blocks {
		if familyOf(b.cidr.Addr()) == f {
			text := fmt.Sprintf("%d of %d in %s in use", b.taken, b.capacity(), b.cidr)
			if why := p.withheld[b.cidr]; why != "" {
				text = b.cidr.String() + " " + why
			}
			full = append(full, text)
		}
	}
	if full == nil {
		return fmt.Errorf("no free %s address for node %s: %w: it has no %s pod CIDR; give the node one", f, p.node, ErrExhausted, f)
	}
	return fmt.Errorf("no free %s address for node %s: %w: %s; give the node another pod CIDR", f, p.node, ErrExhausted, strings.Join(full, ", "))
}
