// Package endpoint gives pods their place on the network: what CNI ADD and DEL
// ask for, and what must stand again after a restart.
//
// An endpoint is made in an order that never leaves a gap: its row is in the
// maps, its program on its device and its policy in force before the device can
// carry a packet, and ADD answers only then. It is unmade in the reverse order.
// Its state is one JSON file below the state directory, renamed into place, so
// that an agent that starts finds what its predecessor left.
//
// The package writes the table endpoints and the map weir_endpoints. It
// allocates through an Allocator and makes devices through package link; it
// waits for policy, and knows nothing of what it says.
package endpoint
