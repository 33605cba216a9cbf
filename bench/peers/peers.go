//go:build peers

// Package peers names the plugins of others that the benchmark measures beside
// ours, in a module of its own so that ours does not depend on them. It is
// never compiled.
package peers

import (
	_ "github.com/containernetworking/plugins/plugins/ipam/host-local"
	_ "github.com/containernetworking/plugins/plugins/main/bridge"
)
