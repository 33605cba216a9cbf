package datapath

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring is a map of type BPF_MAP_TYPE_RINGBUF, read in place: its positions and its
// data are mapped, the data twice in a row, so that no record is in two pieces
// (Documentation/bpf/ringbuf.rst and kernel/bpf/ringbuf.c). A record is a header of 8
// octets, of which the first 4 are its length and two bits, and then the sample,
// padded to 8.
//
// The library's reader copies each record, and waits for wake-ups that programs here
// never send; this one is asked.
type ring[T any] struct {
	positions, data []byte // as they are mapped
	mask            uint64
	consumer        *uint64 // written here, read by the kernel
	producer        *uint64
	samples         []byte

	at      uint64 // consumer, as far as the kernel was not told
	foreign uint64 // records of another size: of another version's programs
}

const (
	recordHeader = 8
	recordBusy   = 1 << 31 // is being written
	recordDrop   = 1 << 30 // was given up
)

// openRing maps a ring whose records are T.
func openRing[T any](m *ebpf.Map) (*ring[T], error) {
	page, size := os.Getpagesize(), int(m.MaxEntries())
	positions, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the consumer's page: %w", err)
	}
	data, err := unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Munmap(positions)
		return nil, fmt.Errorf("map %d octets of data twice: %w", size, err)
	}
	r := &ring[T]{positions: positions, data: data, mask: uint64(size) - 1,
		consumer: (*uint64)(unsafe.Pointer(&positions[0])), producer: (*uint64)(unsafe.Pointer(&data[0])), samples: data[page:]}
	r.at = atomic.LoadUint64(r.consumer) // where the agent before this one was
	return r, nil
}

func (r *ring[T]) close() {
	_ = unix.Munmap(r.positions) // what was mapped can be unmapped
	_ = unix.Munmap(r.data)
}

// end is where the ring ends now.
func (r *ring[T]) end() uint64 { return atomic.LoadUint64(r.producer) }

// fill is the part of the ring that is taken.
func (r *ring[T]) fill() float64 { return float64(r.end()-r.at) / float64(r.mask+1) }

// size is that of a record.
func (r *ring[T]) size() int { return int(unsafe.Sizeof(*new(T))) }

// peek returns the record that is next before end, in the ring's own memory, until
// next is called; nil: there is none, or it is still being written.
func (r *ring[T]) peek(end uint64) *T {
	for r.at < end {
		at := r.at & r.mask
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.samples[at])))
		size := header &^ (recordBusy | recordDrop)
		switch {
		case header&recordBusy != 0:
			return nil
		case header&recordDrop == 0 && int(size) == r.size():
			return (*T)(unsafe.Pointer(&r.samples[at+recordHeader]))
		case header&recordDrop == 0:
			r.foreign++
		}
		r.skip(size)
	}
	return nil
}

// next gives the room of the record that was peeked at back.
func (r *ring[T]) next() { r.skip(uint32(r.size())) }

func (r *ring[T]) skip(size uint32) {
	r.at += recordHeader + uint64(size+7)&^7
	atomic.StoreUint64(r.consumer, r.at)
}
