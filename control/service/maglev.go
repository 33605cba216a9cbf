package service

import (
	"cmp"
	"slices"
)

// primes are the sizes of Maglev's tables: the largest primes below powers of two,
// so that a table fills its rows and seldom changes its size.
var primes = []uint32{127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071, 262139, 524287, 1048573,
	2097143, 4194301, 8388593, 16777213}

const (
	slotsEach = 100   // slots for each backend, at least
	overload  = 10100 // of 10000: what a backend has at most, of its equal share
)

// tableSize is the size of the table of n backends.
func tableSize(n int) uint32 {
	for _, p := range primes {
		if uint64(p) >= slotsEach*uint64(n) {
			return p
		}
	}
	return primes[len(primes)-1]
}

// walker visits the slots in an order of its own, as each backend has one.
type walker struct {
	who   int32 // index of the backend
	at    uint32
	skip  uint32
	slots uint32
}

// maglev fills the table of these backends: of each slot the index of who has it.
// It depends on who they are and not on their order or numbers, so that every node
// makes the same.
//
// As in Maglev (NSDI 2016) each backend has a permutation of the slots, by its
// hash. But it looks at one slot of it in each round, and has it if nobody was
// there in an earlier round, or before it in this one. So who has a slot follows
// from the rank that the slot has with each of them, and when one goes, only its own
// slots find others; were backends to go on until they have found a free one, as
// there, each that finds none where it did would push others. What keeps shares even
// is that whoever has one in a hundred more than its share stops.
//
//	100 backends, 16381 slots, one goes: 0.6 % of the others' slots move, and 1.4 %
//	as in the paper.
func maglev(backends []backendKey) []int32 {
	size := tableSize(len(backends))
	table := make([]int32, size)
	if len(backends) < 2 {
		return table
	}
	hashes, order := make([]uint64, len(backends)), make([]int32, len(backends))
	for i, b := range backends {
		hashes[i], order[i] = b.hash(), int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := cmp.Compare(hashes[a], hashes[b]); c != 0 {
			return c
		}
		return backends[a].compare(backends[b])
	})
	walkers := make([]walker, len(backends))
	for i, who := range order {
		h := hashes[who]
		walkers[i] = walker{who: who, at: uint32(h % uint64(size)), skip: uint32(mix(h+1)%uint64(size-1)) + 1}
	}
	fill(table, walkers)
	return table
}

// fill lets the walkers have the slots, round by round. Who has which is looked up
// among bits, which stay in the cache where a large table does not.
func fill(table []int32, walkers []walker) {
	size, n := uint32(len(table)), uint64(len(walkers))
	most := uint32(max((uint64(size)+n-1)/n, uint64(size)*overload/10000/n))
	taken := make([]uint64, size/64+1)
	for left := size; ; {
		full := false
		for i := range walkers {
			w := &walkers[i]
			if word, bit := &taken[w.at/64], uint64(1)<<(w.at%64); *word&bit == 0 {
				*word |= bit
				table[w.at] = w.who
				if left--; left == 0 {
					return
				}
				w.slots++
				full = full || w.slots == most
			}
			if w.at += w.skip; w.at >= size {
				w.at -= size
			}
		}
		if full {
			walkers = slices.DeleteFunc(walkers, func(w walker) bool { return w.slots == most })
		}
	}
}

// hash is the same on every node and in every version: FNV-1a, mixed.
func (b backendKey) hash() uint64 {
	h := uint64(14695981039346656037)
	add := func(x byte) { h = (h ^ uint64(x)) * 1099511628211 }
	for _, x := range b.addr {
		add(x)
	}
	add(byte(b.port >> 8))
	add(byte(b.port))
	add(byte(b.proto))
	return mix(h)
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
