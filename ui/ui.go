// Package ui is what a browser is given to look at flows: a page, its style and its
// scripts, as files that need no build and nothing from elsewhere. It serves nothing.
package ui

import (
	"embed"
	"io/fs"
)

//go:embed static
var files embed.FS

// Files are the files of the page, with index.html at the root.
func Files() fs.FS {
	inner, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // the name is a valid one
	}
	return inner
}
