package datapath

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"weir/bpf"
	netns "weir/datapath/link"
)

// SocketEnder ends sockets that are connected, by way of a service, to a backend
// whose row in weir_backends is free or another's.
type SocketEnder struct {
	walks          []*link.Iter // over the sockets of a network namespace
	users, metrics *ebpf.Map
	own            uint64 // this process's network namespace
}

// SocketEnder loads the programs that end sockets. They are this process's alone.
func (d *Datapath) SocketEnder() (*SocketEnder, error) {
	return OpenSocketEnder(d.maps.maps)
}

// OpenSocketEnder loads the programs for maps that are open.
func OpenSocketEnder(maps map[string]*ebpf.Map) (*SocketEnder, error) {
	own, err := NetnsCookie()
	if err != nil {
		return nil, err
	}
	spec, err := bpf.Spec(bpf.ObjectEnd)
	if err != nil {
		return nil, err
	}
	replace := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if maps[name] != nil {
			m.MaxEntries = maps[name].MaxEntries()
			replace[name] = maps[name]
		}
	}
	var programs struct {
		TCP *ebpf.Program `ebpf:"end_tcp"`
		UDP *ebpf.Program `ebpf:"end_udp"`
	}
	if err := spec.LoadAndAssign(&programs, &ebpf.CollectionOptions{MapReplacements: replace}); err != nil {
		return nil, fmt.Errorf("this kernel cannot end sockets (it needs Linux 6.5, with BTF): %w", err)
	}
	e := &SocketEnder{own: own, users: maps[bpf.MapSocketUsers], metrics: maps[bpf.MapMetrics]}
	for _, p := range []*ebpf.Program{programs.TCP, programs.UDP} {
		defer p.Close()
		walk, err := link.AttachIter(link.IterOptions{Program: p})
		if err != nil {
			e.Close()
			return nil, fmt.Errorf("make an iterator over sockets: %w", err)
		}
		e.walks = append(e.walks, walk)
	}
	return e, nil
}

// Close lets go of the programs.
func (e *SocketEnder) Close() {
	for _, w := range e.walks {
		w.Close()
	}
}

// Own is the cookie of this process's network namespace.
func (e *SocketEnder) Own() uint64 { return e.own }

// Users returns which network namespaces have connected to which backends. It is
// complete unless there was no room for one at some time.
func (e *SocketEnder) Users() (users []bpf.SocketUser, complete bool, err error) {
	err = batches(e.users, func(keys []bpf.SocketUser, _ []uint32) error {
		users = append(users, keys...)
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", bpf.MapSocketUsers, err)
	}
	unnoted, err := counted(e.metrics, bpf.PlaceSocket, bpf.ReasonSocketUnnoted)
	return users, unnoted == 0, err
}

// Forget takes users out.
func (e *SocketEnder) Forget(users []bpf.SocketUser) error {
	if _, err := (kernel[bpf.SocketUser, uint32]{e.users}).Delete(users); err != nil {
		return fmt.Errorf("write %s: %w", bpf.MapSocketUsers, err)
	}
	return nil
}

// End ends such sockets of a network namespace, which is at path unless it is this
// process's own, and returns how many.
func (e *SocketEnder) End(cookie uint64, path string) (ended int, err error) {
	walk := func() error {
		for _, w := range e.walks {
			n, err := run(w)
			ended += n
			if err != nil {
				return err
			}
		}
		return nil
	}
	if cookie == e.own {
		err = walk()
	} else {
		err = netns.Within(path, cookie, walk)
	}
	return ended, err
}

// run walks the sockets of the namespace that this thread is in: that in which the
// iterator is opened. It writes an octet for each that it has ended.
func run(w *link.Iter) (ended int, err error) {
	r, err := w.Open()
	if err != nil {
		return 0, fmt.Errorf("open an iterator over sockets: %w", err)
	}
	defer r.Close()
	for b := make([]byte, 4096); ; {
		n, err := r.Read(b)
		ended += n
		switch {
		case errors.Is(err, io.EOF):
			return ended, nil
		case err != nil && !errors.Is(err, unix.EAGAIN): // after a million that were let be
			return ended, fmt.Errorf("walk sockets: %w", err)
		}
	}
}
