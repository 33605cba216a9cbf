package kube

import (
	"net"
	"slices"
	"strconv"
	"sync"

	"weir/state"
)

// learner remembers where the API servers are: the cluster lists them as the
// endpoints of its service default/kubernetes.
type learner struct {
	sink
	remember func([]string)

	mu      sync.Mutex
	servers map[state.SliceName][]string
}

// learning makes a sink of slices one that learns from them.
func (s *Source) learning(k *kind, out sink) sink {
	if k.name != "EndpointSlice" {
		return out
	}
	return &learner{sink: out, remember: s.conn.Remember, servers: map[state.SliceName][]string{}}
}

func (l *learner) put(rows []any) {
	l.sink.put(rows)
	for _, r := range rows {
		slice := r.(state.Slice)
		if slice.Service != (state.ServiceName{Namespace: "default", Name: "kubernetes"}) {
			continue
		}
		l.mu.Lock()
		l.servers[slice.Name] = urls(slice)
		var all []string
		for _, list := range l.servers {
			all = append(all, list...)
		}
		slices.Sort(all)
		l.remember(slices.Compact(all))
		l.mu.Unlock()
	}
}

func (l *learner) drop(keys []key) {
	l.sink.drop(keys)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		delete(l.servers, state.SliceName{Namespace: k.namespace, Name: k.name})
	}
}

func urls(s state.Slice) []string {
	var out []string
	for _, p := range s.Ports {
		for _, e := range s.Endpoints {
			if p.Name == "https" && e.Ready {
				out = append(out, "https://"+net.JoinHostPort(e.Addr.String(), strconv.Itoa(int(p.Port))))
			}
		}
	}
	return out
}
