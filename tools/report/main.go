// Command report reads what `go test -json` wrote and prints what a person
// wants to know: what failed with its output, what was skipped and why, and the
// number of tests. It fails when a test did, or when nothing ran.
//
// With -progress it reads the same from standard input while the tests run, and
// says when a package is done.
//
// Usage: report FILE...
//
//	go test -json ./... | tee FILE | report -progress
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// event is a line of `go test -json` (see `go doc test2json`).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // seconds
}

type report struct {
	passed, failed, skipped int
	output                  map[string][]string // by package and test
	failures, skips         []string
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "-progress" {
		progress(os.Stdin, os.Stdout)
		return
	}
	r := report{output: map[string][]string{}}
	for _, file := range os.Args[1:] {
		if err := r.read(file); err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(1)
		}
	}
	r.print(os.Stdout)
	if r.failed > 0 || r.passed == 0 {
		os.Exit(1)
	}
}

func (r *report) read(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			continue // what the compiler says is not JSON
		}
		r.add(e)
	}
	return s.Err()
}

// progress prints a line for each package that is done.
func progress(in io.Reader, w io.Writer) {
	s := bufio.NewScanner(in)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e event
		if json.Unmarshal(s.Bytes(), &e) != nil || e.Test != "" {
			continue
		}
		switch e.Action {
		case "pass", "fail":
			fmt.Fprintf(w, "%s\t%s\t%.1fs\n", e.Action, e.Package, e.Elapsed)
		}
	}
}

func (r *report) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		r.output[key] = append(r.output[key], e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	out := strings.Join(r.output[key], "")
	delete(r.output, key)
	switch {
	case e.Action == "fail":
		if e.Test != "" || !slices.ContainsFunc(r.failures, func(f string) bool { return strings.HasPrefix(f, e.Package+" ") }) {
			r.failed++
			r.failures = append(r.failures, key+"\n"+out)
		}
	case e.Test == "":
	case e.Action == "skip":
		r.skipped++
		r.skips = append(r.skips, key+": "+reason(out))
	default:
		r.passed++
	}
}

// reason is the text a skipped test gave.
func reason(out string) string {
	for line := range strings.Lines(out) {
		if _, why, ok := strings.Cut(line, ".go:"); ok {
			_, why, _ = strings.Cut(why, ": ")
			return strings.TrimSpace(why)
		}
	}
	return "no reason given"
}

func (r *report) print(w io.Writer) {
	for _, s := range r.skips {
		fmt.Fprintln(w, "skipped", s)
	}
	for _, f := range r.failures {
		fmt.Fprintln(w, "FAILED", f)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}
