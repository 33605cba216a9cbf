// Package flow is the Go of flow.proto, which says what there is. It adds nothing to it.
package flow
