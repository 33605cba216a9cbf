// Package peer is the Go of peer.proto, which says what there is. It adds nothing to it.
package peer
