package bpf

import "fmt"

// What is remembered of the clients of services, in words.

func (k AffinityKey) String() string {
	if k.Client.W[2] == ^uint32(0) && k.Client.W[3] == ^uint32(0) {
		return fmt.Sprintf("service=%d netns=%d", k.Service, uint64(k.Client.W[1])<<32|uint64(k.Client.W[0]))
	}
	return fmt.Sprintf("service=%d client=%s", k.Service, k.Client)
}

func (a Affinity) String() string {
	return fmt.Sprintf("backend=%d generation=%d slot=%d used=%d", a.Backend, a.Generation, a.Slot, a.Used)
}

func (u SocketUser) String() string {
	return fmt.Sprintf("netns=%d backend=%d generation=%d", u.Netns, u.BackendRow, u.Generation)
}
