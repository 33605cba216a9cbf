// Command sizes prints the Go and C files and functions of the tree that are
// longer than the style guide allows, and exits with 1 unless each of their
// files gives its reason in a comment "sizes: REASON".
//
// Tests, generated files (*_gen.go, *.pb.go) and the third-party headers in
// bpf/include are passed over. It judges length and nothing else.
package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	maxFile     = 400 // lines
	maxFunction = 80
)

// offender is a file or function that is too long.
type offender struct {
	where  string // "bpf/pod.c:12 from_pod"
	lines  int
	most   int
	reason string // out of the file's comment, or ""
}

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	list, err := scan(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sizes:", err)
		os.Exit(2)
	}
	code := 0
	for _, o := range list {
		verdict := o.reason
		if verdict == "" {
			verdict, code = "give the reason in a comment \"sizes: REASON\", or split it", 1
		}
		fmt.Printf("%s: %d lines, at most %d: %s\n", o.where, o.lines, o.most, verdict)
	}
	os.Exit(code)
}

// scan measures every file under root.
func scan(root string) ([]offender, error) {
	var out []offender
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipDir(rel)
		}
		if !measured(rel) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found, err := measure(rel, data)
		out = append(out, found...)
		return err
	})
	return out, err
}

func skipDir(rel string) error {
	hidden := strings.HasPrefix(filepath.Base(rel), ".") && rel != "."
	if hidden || rel == filepath.Join("bpf", "include") || filepath.Base(rel) == "testdata" {
		return filepath.SkipDir
	}
	return nil
}

func measured(rel string) bool {
	switch filepath.Ext(rel) {
	case ".go":
		return !strings.HasSuffix(rel, "_gen.go") && !strings.HasSuffix(rel, ".pb.go") && !strings.HasSuffix(rel, "_test.go")
	case ".c", ".h":
		return !strings.Contains(rel, string(filepath.Separator)+"test"+string(filepath.Separator))
	default:
		return false
	}
}

// The comment's end is no part of the reason.
var reason = regexp.MustCompile(`(?m)^\s*(?://|/?\*+)\s*sizes: (.+?)\s*(?:\*/)?$`)

func measure(rel string, data []byte) ([]offender, error) {
	why := ""
	if m := reason.FindSubmatch(data); m != nil {
		why = string(m[1])
	}
	var out []offender
	if n := strings.Count(string(data), "\n"); n > maxFile {
		out = append(out, offender{rel, n, maxFile, why})
	}
	functions, err := goFunctions, error(nil)
	if filepath.Ext(rel) != ".go" {
		functions = cFunctions
	}
	list, err := functions(rel, data)
	for _, f := range list {
		if f.lines > maxFunction {
			out = append(out, offender{fmt.Sprintf("%s:%d %s", rel, f.line, f.name), f.lines, maxFunction, why})
		}
	}
	return out, err
}

// function is one function of a file; its length runs from its head to its
// closing brace.
type function struct {
	name        string
	line, lines int
}

func goFunctions(rel string, data []byte) ([]function, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, rel, data, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var out []function
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			from, to := set.Position(f.Pos()).Line, set.Position(f.End()).Line
			out = append(out, function{f.Name.Name, from, to - from + 1})
		}
	}
	return out, nil
}

// between matches lines that are no part of a function's head: directives,
// statements, comments, sections, the end of a struct.
var between = regexp.MustCompile(`^#|^SEC\(|;$|^}|^\s*/?\*|\*/$`)

var head = regexp.MustCompile(`(\w+)\s*\([^;{}]*\)[^;{}()]*$`)

// cFunctions relies on the tree's clang-format: a function's body opens with a
// brace and ends with a line that is nothing but the closing one.
func cFunctions(_ string, data []byte) ([]function, error) {
	var out []function
	var above []string // the lines of a declaration so far
	name, start := "", 0
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case name != "":
			if line == "}" {
				out = append(out, function{name, start, n - start + 1})
				name = ""
			}
		case line == "" || between.MatchString(line):
			above = nil
		case line == "{" || strings.HasSuffix(line, ") {"):
			above = append(above, strings.TrimSuffix(line, "{"))
			if m := head.FindStringSubmatch(strings.TrimRight(strings.Join(above, " "), " ")); m != nil {
				name, start = m[1], n-len(above)+1
			}
			above = nil
		default:
			above = append(above, line)
		}
	}
	return slices.Clip(out), lines.Err()
}
