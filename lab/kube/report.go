package kube

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Outcome is how one of upstream's tests ended.
type Outcome struct {
	Name   string
	Took   time.Duration
	Failed string // why, or ""
	NotRun string // why the test refused to run, or NotAsked, or ""
}

// NotAsked is why a test did not run that focus or skip left out.
const NotAsked = "not asked for"

// ReadReport reads what the JUnit report of E2E says of tests whose names match,
// sorted by name.
func ReadReport(dir string, about *regexp.Regexp) ([]Outcome, error) {
	file := filepath.Join(dir, "junit_01.xml")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	out, err := parseReport(data, about)
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w", file, err)
	}
	return out, nil
}

// junit is what ginkgo writes, as far as it is needed here.
type junit struct {
	Suites []struct {
		Cases []struct {
			Name    string  `xml:"name,attr"`
			Status  string  `xml:"status,attr"`
			Seconds float64 `xml:"time,attr"`
			Skipped *struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
			Failure *message `xml:"failure"`
			Error   *message `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

type message struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (m message) String() string { return strings.TrimSpace(m.Message + "\n" + m.Text) }

func parseReport(data []byte, about *regexp.Regexp) ([]Outcome, error) {
	var j junit
	if err := xml.Unmarshal(data, &j); err != nil {
		return nil, err
	}
	var out []Outcome
	for _, s := range j.Suites {
		for _, c := range s.Cases {
			name, isTest := strings.CutPrefix(c.Name, "[It] ")
			if isTest && !about.MatchString(name) {
				continue
			}
			o := Outcome{Name: name, Took: time.Duration(c.Seconds * float64(time.Second)).Round(100 * time.Millisecond)}
			switch {
			case c.Failure != nil:
				o.Failed = c.Failure.String()
			case c.Error != nil:
				o.Failed = c.Error.String()
			case !isTest:
				continue // what goes before and after all
			case c.Skipped != nil:
				o.NotRun = strings.TrimPrefix(strings.TrimSpace(strings.TrimPrefix(c.Skipped.Message, "skipped")), "- ")
				o.NotRun = cmp.Or(o.NotRun, NotAsked)
			}
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b Outcome) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
