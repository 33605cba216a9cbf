// Package page looks at the page of the relay as people do: in Chromium, which it drives,
// with the flows of a cluster that test/pageserver makes up. It is a module of its own, so
// that what drives a browser is nobody's dependency.
//
//	go test ./...                                        every test; without a browser none
//	WEIR_SCREENSHOTS=../../docs go test -run Screenshots the pictures of docs/page.md anew
package page
