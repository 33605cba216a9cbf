// Package walk is the Go of walk.proto, which says what there is. It adds nothing to it.
package walk
