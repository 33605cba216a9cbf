package bpf

import "fmt"

// What is remembered of the clients of services, in words.

func (k AffinityKey) String() string {
	if netns, ok := k.Netns(); ok {
		return fmt.Sprintf("service=%d netns=%d", k.Service, netns)
	}
	return fmt.Sprintf("service=%d client=%s", k.Service, k.Client)
}

// Netns is the cookie of the client's network namespace, if it is a socket.
func (k AffinityKey) Netns() (cookie uint64, ok bool) {
	w := k.Client.W
	return uint64(w[1])<<32 | uint64(w[0]), w[2] == ^uint32(0) && w[3] == ^uint32(0)
}

func (a Affinity) String() string {
	return fmt.Sprintf("backend=%d generation=%d slot=%d used=%d", a.Backend, a.Generation, a.Slot, a.Used)
}

func (u SocketUser) String() string {
	return fmt.Sprintf("netns=%d backend=%d generation=%d", u.Netns, u.BackendRow, u.Generation)
}
