package agent

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	api "weir/api/agent"
	"weir/bpf"
	"weir/control/service"
)

func (a *Agent) natRetries(*http.Request) ([]api.NATRetries, error) {
	rows, err := a.dp.NATRetries()
	var out []api.NATRetries
	for i, n := range rows {
		out = append(out, api.NATRetries{Retries: retriesText(i, len(rows)), Connections: n})
	}
	return out, err
}

// retriesText is what a row of weir_nat_retries counts.
func retriesText(row, rows int) string {
	switch {
	case row == rows-1:
		return "none free"
	case row < 2:
		return fmt.Sprint(row)
	}
	return fmt.Sprintf("%d-%d", 1<<(row-1), 1<<row-1)
}

// listAffinities leaves out clients whose time is over.
func (a *Agent) listAffinities(*http.Request) ([]api.Affinity, error) {
	known, out := a.serviceNumbers(), []api.Affinity{}
	now, err := monotonic()
	if err != nil {
		return nil, err
	}
	err = a.dp.Affinities(func(k bpf.AffinityKey, v bpf.Affinity) {
		s, ok := known[k.Service]
		if !ok || now-v.Used > s.timeout {
			return
		}
		row := api.Affinity{Client: clientText(k), Service: s.name, Port: s.port,
			Idle: time.Duration(now-v.Used) * time.Second, Expires: time.Duration(s.timeout-(now-v.Used)) * time.Second}
		if b, ok := a.dp.Services.Backends.Get(v.Backend); ok && b.Generation == v.Generation {
			row.Backend = b.AddrPort().String()
			out = append(out, row)
		}
	})
	slices.SortFunc(out, func(x, y api.Affinity) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.Port, y.Port), cmp.Compare(x.Client, y.Client))
	})
	return out, err
}

// numbered is the service that a number of weir_services means.
type numbered struct {
	name, port string
	timeout    uint32 // seconds
}

func (a *Agent) serviceNumbers() map[uint32]numbered {
	frontends := map[string]service.Frontend{}
	for _, f := range a.services.Frontends() {
		frontends[portText(f.At, f.Proto)] = f
	}
	out := map[uint32]numbered{}
	for k, v := range a.dp.Services.Services.Desired() {
		at := portText(k.AddrPort(), k.Proto)
		if f, ok := frontends[at]; ok && v.Affinity > 0 && (out[v.ID].port == "" || at < out[v.ID].port) {
			out[v.ID] = numbered{f.Of.String(), at, v.Affinity}
		}
	}
	return out
}

// clientText is an address, or the network namespace of a socket.
func clientText(k bpf.AffinityKey) string {
	if cookie, ok := k.Netns(); ok {
		return fmt.Sprintf("netns %d", cookie)
	}
	return k.Client.Netip().String()
}

// monotonic is what the programs take for the time, in seconds.
func monotonic() (uint32, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint32(t.Sec), err
}
