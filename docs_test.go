package weir_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/agent/config"
	"weir/bpf"
)

var update = flag.Bool("update", false, "write the generated parts of docs")

const reasonMark = "<!-- made from bpf.Reason by `go test -run TestDropsPage . -update` -->\n"

func TestDropsPageHasEveryReason(t *testing.T) {
	var b strings.Builder
	b.WriteString(reasonMark + "\n| Number | Text | Programs | What it means | What to do |\n|---|---|---|---|---|\n")
	for n := range 256 {
		r := bpf.Reason(n)
		e, ok := r.Explained()
		known := r != bpf.ReasonNone && !strings.HasPrefix(r.String(), "Reason ")
		if known != ok {
			t.Errorf("reason %d (%s): known to bpf %v, explained here %v", n, r, known, ok)
		}
		if !ok {
			continue
		}
		todo := e.Do
		if !r.Drop() && todo == "" {
			todo = "–"
		}
		if todo == "" {
			t.Errorf("drop %d (%s) does not say what to do", n, r)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", n, r, strings.ReplaceAll(e.Programs, " ", ", "), e.Means, todo)
	}
	const page = "docs/drops.md"
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(old), reasonMark)
	if !ok {
		t.Fatalf("%s has no line %q", page, reasonMark)
	}
	want := before + b.String()
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(old) {
		t.Errorf("%s is not up to date: run `go test -run TestDropsPage . -update`", page)
	}
}

// The page explains drops in the words of docs/drops.md.
func TestThePageHasEveryDropReason(t *testing.T) {
	type explained struct {
		Name  string `json:"name"`
		Means string `json:"means"`
		Do    string `json:"do"`
	}
	all := map[string]explained{}
	for n := range 256 {
		if e, ok := bpf.Reason(n).Explained(); ok && bpf.Reason(n).Drop() {
			all[fmt.Sprint(n)] = explained{bpf.Reason(n).String(), e.Means, e.Do}
		}
	}
	want, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	const file = "ui/static/reasons.json"
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old, err := os.ReadFile(file); err != nil || !bytes.Equal(old, want) {
		t.Errorf("%s is not up to date (%v): run `go test -run TestThePage . -update`", file, err)
	}
}

// seedRows are the behaviours that docs/coverage.md accounts for: the letter of
// a chapter and how many rows it has.
var seedRows = []struct {
	letter string
	rows   int
}{
	{"A", 7}, {"B", 37}, {"C", 9}, {"D", 9}, {"E", 9}, {"F", 12}, {"G", 16}, {"H", 22},
	{"I", 9}, {"J", 15}, {"K", 7}, {"L", 3}, {"M", 14}, {"N", 4},
}

var (
	coverageLine = regexp.MustCompile(`^\| ([A-N]\d+) \| (.*?) \| (.*) \|$`)
	testName     = regexp.MustCompile("`(Test[A-Za-z0-9_]*)[^`]*`")
	scriptName   = regexp.MustCompile("`([^`]*\\.txtar)`")
	testFunc     = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]*)\(`)
)

func TestCoverageHasEveryRowOnceAndCitesWhatExists(t *testing.T) {
	page, err := os.ReadFile("docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, scripts := testsAndScripts(t)
	cited := map[string]string{}
	for line := range strings.Lines(string(page)) {
		m := coverageLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		if _, twice := cited[m[1]]; twice {
			t.Errorf("row %s stands twice", m[1])
		}
		cited[m[1]] = m[2]
		names, files := testName.FindAllStringSubmatch(m[2], -1), scriptName.FindAllStringSubmatch(m[2], -1)
		if len(names)+len(files) == 0 && m[2] != "not yet" {
			t.Errorf("row %s cites neither a test nor a script, nor says \"not yet\": %s", m[1], m[2])
		}
		for _, n := range names {
			if !tests[n[1]] {
				t.Errorf("row %s cites %s, which does not exist", m[1], n[1])
			}
		}
		for _, f := range files {
			if !scripts[filepath.Base(f[1])] {
				t.Errorf("row %s cites %s, which does not exist", m[1], f[1])
			}
		}
	}
	total := 0
	for _, c := range seedRows {
		total += c.rows
		for i := 1; i <= c.rows; i++ {
			if _, ok := cited[fmt.Sprint(c.letter, i)]; !ok {
				t.Errorf("row %s%d is missing", c.letter, i)
			}
		}
	}
	if len(cited) != total {
		t.Errorf("%d rows, want %d", len(cited), total)
	}
}

// testsAndScripts are the names of every test function and txtar file of the tree.
func testsAndScripts(t *testing.T) (tests, scripts map[string]bool) {
	t.Helper()
	tests, scripts = map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".txtar"):
			scripts[d.Name()] = true
		case strings.HasSuffix(path, "_test.go"):
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range testFunc.FindAllStringSubmatch(string(src), -1) {
				tests[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, scripts
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinksOfThePagesLead(t *testing.T) {
	pages, _ := filepath.Glob("docs/*.md")
	top, _ := filepath.Glob("*.md")
	for _, page := range append(pages, top...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: link to %s leads nowhere", page, m[1])
			}
		}
	}
}

func TestConfigurationPageHasEveryKeyAndNoOther(t *testing.T) {
	page, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = true
	}
	for _, o := range config.Defaults().Options() {
		if !documented[o.Key] {
			t.Errorf("docs/configuration.md does not have the key %s", o.Key)
		}
		delete(documented, o.Key)
	}
	for k := range documented {
		t.Errorf("docs/configuration.md has %s, which is no key", k)
	}
}

const metricsMark = "<!-- made from testdata of observe/metrics, operator/run and relay/run by `go test -run TestMetricsPage . -update` -->\n"

// TestMetricsPageHasEveryMetric compares the page's table with what the agent, the
// operator and the relay tell when everything has a value.
func TestMetricsPageHasEveryMetric(t *testing.T) {
	var b strings.Builder
	b.WriteString(metricsMark + "\n| Metric | Kind | Labels | |\n|---|---|---|---|\n")
	for _, file := range []string{"observe/metrics/testdata/node.txt", "operator/run/testdata/metrics.txt", "relay/run/testdata/metrics.txt"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^# HELP (\w+) (.*)\n# TYPE \w+ (\w+)\n\w+(?:\{(.*)\})? `).FindAllStringSubmatch(string(text), -1) {
			var labels []string
			for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[4], -1) {
				if l[1] != "le" {
					labels = append(labels, l[1])
				}
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m[1], m[3], strings.Join(labels, ", "), strings.ReplaceAll(strings.TrimSuffix(m[2], "."), "<error>", "`<error>`"))
		}
	}
	page, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(page), metricsMark)
	if at < 0 {
		t.Fatal("docs/metrics.md has lost its mark")
	}
	want := string(page[:at]) + b.String()
	if want == string(page) {
		return
	}
	if !*update {
		t.Fatal("docs/metrics.md does not say what is told: run `go test -run TestMetricsPage . -update`")
	}
	if err := os.WriteFile("docs/metrics.md", []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
