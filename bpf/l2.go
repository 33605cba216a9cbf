package bpf

import "fmt"

// String is the key as `weir map get weir_l2` prints it.
func (k L2Key) String() string { return fmt.Sprintf("%s on device %d", k.Addr, k.Ifindex) }

// String is the value as `weir map get weir_l2` prints it.
func (e L2Entry) String() string { return fmt.Sprintf("responses=%d mac=%s", e.Responses, e.MAC) }
