package observe

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"weir/api/flow"
)

// byFQDN matches names of an end's address: "*.example.org", where * is any characters.
func byFQDN(wanted []string, end int) (predicate, error) {
	var patterns []*regexp.Regexp
	for _, text := range wanted {
		pattern := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), ".")
		if pattern == "" || len(pattern) > maxPattern || strings.ContainsFunc(pattern, func(r rune) bool { return !inPattern(r) }) {
			return nil, fmt.Errorf("%q is not a name: write example.org or *.example.org, where * is any characters", text)
		}
		patterns = append(patterns, regexp.MustCompile("^"+strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")+"$"))
	}
	return func(v *view) bool {
		return slices.ContainsFunc(v.namesOf(end), func(name string) bool {
			return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(name) })
		})
	}, nil
}

// maxPattern is what a name may have at most (RFC 1035), and stars.
const maxPattern = 512

func inPattern(r rune) bool {
	return r == '*' || r == '.' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z'
}

// Bounds of the expressions of a filter, so that no request takes much memory: what they
// compile to is not much longer than they are, without counted repetitions.
const (
	maxQueries = 8
	maxQuery   = 128
)

// byDNSQuery matches what was asked for, by regular expressions as Go has them: they take
// no more time than the name is long.
func byDNSQuery(f *flow.FlowFilter) (predicate, error) {
	if len(f.DnsQuery) > maxQueries {
		return nil, fmt.Errorf("%d expressions: at most %d are possible", len(f.DnsQuery), maxQueries)
	}
	var patterns []*regexp.Regexp
	for _, text := range f.DnsQuery {
		if len(text) > maxQuery || strings.Contains(text, "{") {
			return nil, fmt.Errorf("an expression of %d characters: write at most %d, without {", len(text), maxQuery)
		}
		p, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a regular expression: write ^web\\., for instance (the name has a dot at the end)", text)
		}
		patterns = append(patterns, p)
	}
	return func(v *view) bool {
		return v.part == dnsAnswer && slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(v.said.Answer.Query) })
	}, nil
}
