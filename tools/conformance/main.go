// Command conformance writes the results of upstream's end-to-end tests, out of
// the reports of `weir lab e2e`, into the page about them: counts, and each test
// with its time. What stands above the mark in the page stays. It judges
// nothing: tests do.
//
// Usage: conformance REPORT-FOLDER... PAGE
package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/lab/kube"
)

const mark = "<!-- written by `make conformance` -->\n"

func main() {
	last := len(os.Args) - 1
	if last < 2 {
		fmt.Fprintln(os.Stderr, "usage: conformance REPORT-FOLDER... PAGE")
		os.Exit(2)
	}
	if err := write(os.Args[1:last], os.Args[last]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func write(reports []string, page string) error {
	var outcomes []kube.Outcome
	for _, report := range reports {
		more, err := kube.ReadReport(report, regexp.MustCompile(`^\[sig-network\]`))
		if err != nil {
			return err
		}
		outcomes = merge(outcomes, more)
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	above, _, ok := strings.Cut(string(old), mark)
	if !ok {
		return errors.New(page + " has no line " + mark)
	}
	return os.WriteFile(page, []byte(above+mark+render(outcomes)), 0o644)
}

// merge joins what several reports say of tests: what a test said that was asked for, or
// ran, counts more than that it was not.
func merge(a, b []kube.Outcome) []kube.Outcome {
	byName := map[string]kube.Outcome{}
	for _, o := range slices.Concat(a, b) {
		was, known := byName[o.Name]
		if !known || weight(o) >= weight(was) {
			byName[o.Name] = o
		}
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b kube.Outcome) int { return strings.Compare(a.Name, b.Name) })
}

func weight(o kube.Outcome) int {
	switch o.NotRun {
	case "":
		return 2
	case kube.NotAsked:
		return 0
	}
	return 1
}

// area is a part of upstream's tests: the first one whose expression matches
// has the test.
type area struct {
	title string
	is    *regexp.Regexp
}

var areas = []area{
	{"SCTP", regexp.MustCompile(`SCTP`)},
	{"Conformance", regexp.MustCompile(`\[Conformance\]`)},
	{"NetworkPolicy", regexp.MustCompile(`Netpol|NetworkPolicy|NetworkPolicies`)},
	{"Dual-stack", regexp.MustCompile(`(?i)dual-?stack`)},
	{"DNS", regexp.MustCompile(`DNS`)},
	{"Session affinity", regexp.MustCompile(`(?i)session affinity`)},
	{"Traffic policies", regexp.MustCompile(`(?i)TrafficPolicy|traffic policy|TrafficDistribution|Traffic Distribution`)},
	{"Services", regexp.MustCompile(`Service|EndpointSlice|Endpoints|LoadBalancer|HostPort`)},
	{"Others", regexp.MustCompile(``)},
}

// unasked says why make conformance leaves tests out.
var unasked = []area{
	{"this kernel has no SCTP", regexp.MustCompile(`SCTP`)},
	{"is about kube-proxy, which is not there", regexp.MustCompile(`KubeProxy|kube-proxy`)},
	{"needs iperf 2.2, whose reports alone it can read; Debian 12 has 2.1.8", regexp.MustCompile(`IPerf2`)},
	{"was not asked for", regexp.MustCompile(``)},
}

func render(outcomes []kube.Outcome) string {
	for i := range outcomes {
		if o := &outcomes[i]; o.NotRun == kube.NotAsked {
			o.NotRun = unasked[slices.IndexFunc(unasked, func(a area) bool { return a.is.MatchString(o.Name) })].title
		}
	}
	byArea := make([][]kube.Outcome, len(areas))
	for _, o := range outcomes {
		i := slices.IndexFunc(areas, func(a area) bool { return a.is.MatchString(o.Name) })
		byArea[i] = append(byArea[i], o)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nKubernetes %s, up to six tests at once; times are each test's own.\n\n", kube.Version())
	b.WriteString("| Part | Passed | Failed | Not run | Time |\n|---|--:|--:|--:|--:|\n")
	for i, a := range areas {
		if len(byArea[i]) > 0 {
			summary(&b, a.title, byArea[i])
		}
	}
	summary(&b, "**All**", outcomes)
	list(&b, "Failed", outcomes, func(o kube.Outcome) string { return firstLine(o.Failed) })
	list(&b, "Not run", outcomes, func(o kube.Outcome) string { return firstLine(o.NotRun) })
	for i, a := range areas {
		list(&b, "Passed: "+a.title, byArea[i], func(o kube.Outcome) string {
			if o.Failed != "" || o.NotRun != "" {
				return ""
			}
			return o.Took.String()
		})
	}
	return b.String()
}

func summary(b *strings.Builder, title string, outcomes []kube.Outcome) {
	var passed, failed, notRun int
	var took time.Duration
	for _, o := range outcomes {
		took += o.Took
		switch {
		case o.Failed != "":
			failed++
		case o.NotRun != "":
			notRun++
		default:
			passed++
		}
	}
	fmt.Fprintf(b, "| %s | %d | %d | %d | %s |\n", title, passed, failed, notRun, took.Round(time.Second))
}

// list prints the tests about which say has something to say.
func list(b *strings.Builder, title string, outcomes []kube.Outcome, say func(kube.Outcome) string) {
	var lines []string
	for _, o := range outcomes {
		if s := say(o); s != "" {
			lines = append(lines, fmt.Sprintf("- %s: %s\n", cmp.Or(plain(o.Name), "without a name"), plain(s)))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n## %s (%d)\n\n%s", title, len(lines), strings.Join(lines, ""))
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// plain keeps Markdown from reading a name's brackets and underscores.
func plain(s string) string {
	return strings.NewReplacer("[", `\[`, "]", `\]`, "_", `\_`, "*", `\*`, "<", `\<`).Replace(s)
}
