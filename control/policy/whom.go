package policy

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"

	"weir/state"
)

// whom is the peers of a rule that make one selector.
type whom struct {
	text string
	peer state.PolicyPeer
	list []netip.Prefix // of a long list of CIDRs all; peer is the first
}

// longList is from how many CIDRs on a rule's list is one selector, and their
// addresses one set: sixteen lists of this length would be all sets there are.
// Shorter ones are a selector for each CIDR: rules that share some share these, and
// one CIDR more or less is one write and disturbs no other. A long list is written
// anew when it changes; what it allows is refused to new connections until it is.
const longList = 1024

// whoms returns the peers of a rule, with their texts, by selectors. CIDRs with
// exceptions stand alone: they do not hold for the others.
func whoms(peers []state.PolicyPeer, texts []string) []whom {
	var out []whom
	lists := map[bool][]int{} // by Cluster
	for i, p := range peers {
		if p.Kind == state.PeerCIDR && p.CIDR.IsValid() && len(p.Except) == 0 {
			lists[p.Cluster] = append(lists[p.Cluster], i)
		} else {
			out = append(out, whom{text: texts[i], peer: p})
		}
	}
	for _, cluster := range []bool{false, true} {
		at := lists[cluster]
		if len(at) >= longList {
			out = append(out, listed(peers, at))
			continue
		}
		for _, i := range at {
			out = append(out, whom{text: texts[i], peer: peers[i]})
		}
	}
	return out
}

// listed makes one of a long list. Its text says which list it is.
func listed(peers []state.PolicyPeer, at []int) whom {
	var w whom
	for _, i := range at {
		w.list = append(w.list, canonical(peers[i].CIDR))
	}
	slices.SortFunc(w.list, comparePrefix)
	w.list = slices.Compact(w.list)
	sum := sha256.New()
	for _, p := range w.list {
		fmt.Fprintln(sum, p)
	}
	w.peer = peers[at[0]]
	w.peer.CIDR = w.list[0]
	w.text = fmt.Sprintf("%s and %d more (list %.6x)", peerText(w.peer), len(w.list)-1, sum.Sum(nil))
	return w
}
