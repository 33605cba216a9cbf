package policy

import (
	"encoding/binary"
	"maps"
	"slices"

	"weir/bpf"
)

// mark is a selector's number as a set holds it: with the bit outside when it
// counts for peers outside the cluster only.
type mark uint32

const outside mark = 1 << 31

func (m mark) number() uint32 { return uint32(m &^ outside) }

// most is how many marks one peer may have.
const most = int(bpf.SetSelectors) * int(bpf.SetChain)

// sets holds each distinct set of marks once. A set's rows never change.
type sets struct {
	numbers *numbers
	byKey   map[string]*set
	byHead  map[uint32]*set
	rows    *content[uint32, bpf.PolicySet]
	chains  map[string][]uint32 // that the map had when the agent started
	byMark  map[mark][]*set     // from when there is no room until the pass ends; with sets that are gone
}

// set is one of them: a chain of rows.
type set struct {
	key   string
	marks []mark
	chain []uint32 // numbers of its rows
	refs  int
}

func newSets(rows int) *sets {
	return &sets{numbers: newNumbers(rows - 1), byKey: map[string]*set{}, byHead: map[uint32]*set{}, rows: newContent[uint32, bpf.PolicySet]()}
}

func setKey(marks []mark) string {
	b := make([]byte, 0, 4*len(marks))
	for _, m := range marks {
		b = binary.BigEndian.AppendUint32(b, uint32(m))
	}
	return string(b)
}

// take returns the number of the set of the marks, which are sorted and not more
// than a chain takes; 0 is the empty set.
func (s *sets) take(marks []mark) uint32 {
	if len(marks) == 0 {
		return 0
	}
	key := setKey(marks)
	if x, ok := s.byKey[key]; ok {
		x.refs++
		return x.chain[0]
	}
	x := &set{key: key, marks: slices.Clone(marks), refs: 1}
	had := s.chains[key]
	for i := range (len(marks) + int(bpf.SetSelectors) - 1) / int(bpf.SetSelectors) {
		n := uint32(0)
		if i < len(had) {
			n = had[i]
		}
		x.chain = append(x.chain, s.numbers.claimOrTake(n))
	}
	s.add(x)
	return x.chain[0]
}

// room reports whether the map has room for the set.
func (x *set) room(s *sets) bool {
	return !slices.ContainsFunc(x.chain, func(n uint32) bool { return n > s.numbers.most })
}

// add enters a set whose rows have their numbers.
func (s *sets) add(x *set) {
	s.byKey[x.key], s.byHead[x.chain[0]] = x, x
	for i, row := range chainRows(x) {
		s.rows.set(x.chain[i], row)
	}
	if s.byMark != nil {
		s.index(x)
	}
}

// having returns the sets with a mark that had room when they were made; of some
// nobody has any use by now.
func (s *sets) having(m mark) []*set {
	if s.byMark == nil {
		s.byMark = map[mark][]*set{}
		for _, head := range slices.Sorted(maps.Keys(s.byHead)) {
			s.index(s.byHead[head])
		}
	}
	return s.byMark[m]
}

func (s *sets) index(x *set) {
	if !x.room(s) {
		return
	}
	for _, m := range x.marks {
		s.byMark[m] = append(s.byMark[m], x)
	}
}

// settle ends a pass.
func (s *sets) settle() {
	s.rows.settle()
	s.byMark = nil
}

func chainRows(x *set) []bpf.PolicySet {
	out := make([]bpf.PolicySet, len(x.chain))
	for i, m := range x.marks {
		row := &out[i/int(bpf.SetSelectors)]
		n := uint16(m.number())
		if m&outside != 0 {
			n |= uint16(bpf.SelectorOutside)
		}
		row.Selectors[row.Count] = n
		row.Count++
	}
	for i := range len(out) - 1 {
		out[i].Next = uint16(x.chain[i+1])
	}
	return out
}

// give takes one use of a set back.
func (s *sets) give(head uint32) {
	if head == 0 {
		return
	}
	x := s.byHead[head]
	if x.refs--; x.refs > 0 {
		return
	}
	delete(s.byKey, x.key)
	delete(s.byHead, head)
	for _, n := range x.chain {
		s.numbers.give(n)
		s.rows.del(n)
	}
}

// marks returns what is in the set of that number.
func (s *sets) marks(head uint32) []mark {
	if head == 0 {
		return nil
	}
	return s.byHead[head].marks
}

// readSet returns the marks of a set as the map holds it, which may be of an
// earlier agent and wrong in any way.
func readSet(row func(uint32) (bpf.PolicySet, bool), head uint32) (marks []mark, chain []uint32) {
	for n := head; n != 0 && len(chain) < int(bpf.SetChain); {
		r, ok := row(n)
		if !ok {
			break
		}
		chain = append(chain, n)
		for _, x := range r.Selectors[:min(int(r.Count), len(r.Selectors))] {
			m := mark(x & uint16(bpf.SelectorsMax))
			if x&uint16(bpf.SelectorOutside) != 0 {
				m |= outside
			}
			marks = append(marks, m)
		}
		n = uint32(r.Next)
	}
	slices.Sort(marks)
	return marks, chain
}
