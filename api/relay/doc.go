// Package relay is the Go of relay.proto, which says what there is. It adds nothing to it.
package relay
