package service

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"weir/bpf"
	"weir/datapath"
	"weir/state"
)

// bigService is the i-th of a large cluster, with its slice of n endpoints.
func bigService(i, n int, algorithm state.Algorithm) (state.Service, state.Slice) {
	name := state.ServiceName{Namespace: "d", Name: fmt.Sprintf("s%d", i)}
	s := state.Service{Name: name, Kind: state.ServiceClusterIP, Algorithm: algorithm,
		ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
		Ports:      []state.ServicePort{{Proto: state.ProtoTCP, Port: 80}}}
	return s, bigSlice(name, i, n)
}

func bigSlice(name state.ServiceName, i, n int) state.Slice {
	x := state.Slice{Name: state.SliceName{Namespace: "d", Name: fmt.Sprintf("%s-%d", name.Name, i)}, Service: name, Ports: []state.SlicePort{{Proto: state.ProtoTCP, Port: 8080}}}
	for j := range n {
		k := i*1000 + j
		x.Endpoints = append(x.Endpoints, state.SliceEndpoint{Addr: netip.AddrFrom4([4]byte{11, byte(k >> 16), byte(k >> 8), byte(k)}), Ready: true, Serving: true})
	}
	return x
}

func bigTables(services, backends int, algorithm state.Algorithm) *state.Tables {
	t := state.New()
	var rows []state.Service
	var list []state.Slice
	for i := range services {
		s, x := bigService(i, backends, algorithm)
		rows, list = append(rows, s), append(list, x)
	}
	t.Services.Put(rows...)
	t.Slices.Put(list...)
	t.Nodes.Put(state.Node{Name: "n1", Local: true, Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}})
	return t
}

func memoryControl(b *testing.B, t *state.Tables) (*Control, *datapath.ServiceMaps) {
	b.Helper()
	m, err := datapath.OpenServiceMaps(datapath.MemoryServiceStores())
	if err != nil {
		b.Fatal(err)
	}
	return New(slog.New(slog.DiscardHandler), Options{IPv4: true, IPv6: true}, t, m), m
}

// BenchmarkAllServices is the work of a start that finds empty maps.
func BenchmarkAllServices(b *testing.B) {
	for _, algorithm := range []state.Algorithm{state.AlgorithmRandom, state.AlgorithmMaglev} {
		b.Run(string(algorithm), func(b *testing.B) {
			t := bigTables(10_000, 10, algorithm)
			var m *datapath.ServiceMaps
			for b.Loop() {
				var c *Control
				c, m = memoryControl(b, t)
				if err := c.Step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			rows, _ := m.Slots.Rows()
			b.ReportMetric(float64(len(rows))*64/1e6, "MB-of-slots")
		})
	}
}

// BenchmarkOneEndpoint is the work of one endpoint that comes or goes.
func BenchmarkOneEndpoint(b *testing.B) {
	for _, c := range []struct {
		services, backends int
		algorithm          state.Algorithm
	}{{10_000, 10, state.AlgorithmRandom}, {10_000, 10, state.AlgorithmMaglev}, {10, 1000, state.AlgorithmRandom}, {10, 1000, state.AlgorithmMaglev}} {
		b.Run(fmt.Sprintf("%dx%d-%s", c.services, c.backends, c.algorithm), func(b *testing.B) {
			t := bigTables(c.services, c.backends, c.algorithm)
			control, _ := memoryControl(b, t)
			if err := control.Step(b.Context()); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				name := state.ServiceName{Namespace: "d", Name: fmt.Sprintf("s%d", i%c.services)}
				t.Slices.Put(bigSlice(name, i%c.services, c.backends-1+i/c.services%2))
				if err := control.Step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A hundred thousand endpoints are a thousand slices.
func BenchmarkOneEndpointOfAHundredThousand(b *testing.B) {
	t := state.New()
	s, _ := bigService(0, 0, state.AlgorithmRandom)
	t.Services.Put(s)
	for i := range 1000 {
		t.Slices.Put(bigSlice(s.Name, i, 100))
	}
	c, _ := memoryControl(b, t)
	for i := 0; b.Loop(); i++ {
		t.Slices.Put(bigSlice(s.Name, 7, 100-i%2))
		if err := c.Step(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRestart is the work of a start that finds everything as it left it.
func BenchmarkRestart(b *testing.B) {
	for _, algorithm := range []state.Algorithm{state.AlgorithmRandom, state.AlgorithmMaglev} {
		b.Run(string(algorithm), func(b *testing.B) {
			t := bigTables(10_000, 10, algorithm)
			c, m := memoryControl(b, t)
			if err := c.Step(b.Context()); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				again := New(slog.New(slog.DiscardHandler), c.opts, t, m)
				if err := again.Step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestMaglevOfTenThousandServicesFitsIn48MB(t *testing.T) {
	rows := 10_000 * rowsFor(tableSize(10))
	room := rows + rows/8 // as the map grows when all come at once
	if size := uint64(room) * 4 * uint64(bpf.RowSlots); size > 48e6 {
		t.Errorf("%d rows take %d bytes", room, size)
	}
}
