// Command conformance writes the results of upstream's end-to-end tests, out of
// the report of `weir lab e2e`, into the page about them: counts, and each test
// with its time. What stands above the mark in the page stays. It judges
// nothing: tests do.
//
// Usage: conformance REPORT-FOLDER PAGE
package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/lab/kube"
)

const mark = "<!-- written by `make conformance` -->\n"

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: conformance REPORT-FOLDER PAGE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func write(report, page string) error {
	outcomes, err := kube.ReadReport(report, regexp.MustCompile(`^\[sig-network\]`))
	if err != nil {
		return err
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
	{"needs a feature that Kubernetes has off", regexp.MustCompile(`OffByDefault`)},
	{"needs a later iperf than Debian's, whose reports it cannot read", regexp.MustCompile(`IPerf2`)},
	{"needs a cloud provider", regexp.MustCompile(``)},
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
	fmt.Fprintf(&b, "\nKubernetes %s, four tests at once; times are each test's own.\n\n", kube.Version())
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
