// Package version says which build this is. The linker sets it.
package version

// Version and Commit are set by `make build`.
var (
	Version = "0.0.0-dev"
	Commit  = "unknown"
)
