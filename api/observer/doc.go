// Package observer is the Go of observer.proto, which says what there is. It adds nothing to it.
package observer
