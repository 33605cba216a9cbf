package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"weir/api/flow"
)

// flowFilters are the conditions of a command line, in their order.
type flowFilters struct {
	wanted   []condition
	unwanted []condition
	raw      struct{ allow, deny []*flow.FlowFilter }
	not      bool // the next condition is to be turned round
}

// condition is a flag with a value: ways are what it means, of which one must be met.
type condition struct {
	flag string
	ways []*flow.FlowFilter
}

// endFields are what a flag says about: "--pod" either end, "--from-pod" the sender.
type endFields struct {
	from, to func(*flow.FlowFilter) *[]string
}

// byEnd are the conditions on one end, whose values are text.
var byEnd = map[string]struct {
	endFields
	help string
}{
	"pod":     {endFields{func(f *flow.FlowFilter) *[]string { return &f.SourcePod }, func(f *flow.FlowFilter) *[]string { return &f.DestinationPod }}, "[NAMESPACE/]NAME of a pod, or the start of it"},
	"service": {endFields{func(f *flow.FlowFilter) *[]string { return &f.SourceService }, func(f *flow.FlowFilter) *[]string { return &f.DestinationService }}, "[NAMESPACE/]NAME of a service, likewise"},
	"label":   {endFields{func(f *flow.FlowFilter) *[]string { return &f.SourceLabel }, func(f *flow.FlowFilter) *[]string { return &f.DestinationLabel }}, "selector of labels, as kubectl has it: app=web, \"app in (web, db)\", reserved:host"},
	"ip":      {endFields{func(f *flow.FlowFilter) *[]string { return &f.SourceIp }, func(f *flow.FlowFilter) *[]string { return &f.DestinationIp }}, "address or CIDR"},
	"fqdn":    {endFields{func(f *flow.FlowFilter) *[]string { return &f.SourceFqdn }, func(f *flow.FlowFilter) *[]string { return &f.DestinationFqdn }}, "name of DNS by which the other end has asked for the address; * is any characters: *.example.org"},
	"port":    {endFields{func(f *flow.FlowFilter) *[]string { return &f.SourcePort }, func(f *flow.FlowFilter) *[]string { return &f.DestinationPort }}, "port, or a range: 8000-9000"},
	"cluster": {endFields{func(f *flow.FlowFilter) *[]string { return &f.SourceClusterName }, func(f *flow.FlowFilter) *[]string { return &f.DestinationClusterName }}, "name of a cluster"},
}

// flagValue makes a flag of a function.
type flagValue struct {
	kind string
	set  func(string) error
}

func (v flagValue) String() string     { return "" }
func (v flagValue) Type() string       { return v.kind }
func (v flagValue) Set(s string) error { return v.set(s) }

func (s *flowFilters) flags(f *pflag.FlagSet) {
	not := f.VarPF(flagValue{"bool", func(text string) (err error) {
		s.not, err = strconv.ParseBool(text)
		return err
	}}, "not", "", "turn the next filter round")
	not.NoOptDefVal = "true"
	for name, c := range byEnd {
		s.endFlags(f, name, c.help, func(end int, value string) (*flow.FlowFilter, error) {
			out := &flow.FlowFilter{}
			*[]func(*flow.FlowFilter) *[]string{c.from, c.to}[end](out) = []string{value}
			return out, nil
		})
	}
	s.endFlags(f, "namespace", "namespace of a pod", func(end int, value string) (*flow.FlowFilter, error) {
		return [](*flow.FlowFilter){{SourcePod: []string{value + "/"}}, {DestinationPod: []string{value + "/"}}}[end], nil
	})
	s.endFlags(f, "identity", "number of an identity, or the name of a reserved one: world", endIdentity)
	s.endFlags(f, "workload", "[KIND/]NAME of what made a pod: Deployment/web", func(end int, value string) (*flow.FlowFilter, error) {
		kind, name, ok := strings.Cut(value, "/")
		if !ok {
			kind, name = "", value
		}
		w := []*flow.Workload{{Kind: kind, Name: name}}
		return []*flow.FlowFilter{{SourceWorkload: w}, {DestinationWorkload: w}}[end], nil
	})
	s.plainFlags(f)
	f.Var(flagValue{"json", func(text string) error { return s.json(text, &s.raw.allow) }}, "allowlist", "a filter of the API as JSON: {\"source_pod\": [\"default/\"]}")
	f.Var(flagValue{"json", func(text string) error { return s.json(text, &s.raw.deny) }}, "denylist", "likewise, of what is left out")
}

// shorthands of flags.
var shorthands = map[string]string{"namespace": "n", "label": "l", "type": "t"}

// endFlags adds --NAME, --from-NAME and --to-NAME. make makes the filter of an end, 0 the
// sender.
func (s *flowFilters) endFlags(f *pflag.FlagSet, name, help string, make func(end int, value string) (*flow.FlowFilter, error)) {
	for prefix, of := range map[string][]int{"": {0, 1}, "from-": {0}, "to-": {1}} {
		whose := map[string]string{"": "either end: ", "from-": "the sender: ", "to-": "the receiver: "}[prefix]
		short := ""
		if prefix == "" {
			short = shorthands[name]
		}
		f.VarP(flagValue{strings.ToUpper(name), func(value string) error {
			c := condition{flag: prefix + name}
			if value == "" {
				return errors.New("give a value")
			}
			for _, end := range of {
				way, err := make(end, value)
				if err != nil {
					return err
				}
				c.ways = append(c.ways, way)
			}
			s.take(c)
			return nil
		}}, prefix+name, short, whose+help)
	}
}

// take adds a condition.
func (s *flowFilters) take(c condition) {
	if s.not {
		s.unwanted = append(s.unwanted, c)
	} else {
		s.wanted = append(s.wanted, c)
	}
	s.not = false
}

var reservedIdentities = map[string]uint32{"unknown": 0, "host": 1, "world": 2, "unmanaged": 3, "health": 4, "init": 5, "remote-node": 6,
	"kube-apiserver": 7, "ingress": 8, "world-ipv4": 9, "world-ipv6": 10}

func endIdentity(end int, value string) (*flow.FlowFilter, error) {
	id, ok := reservedIdentities[strings.TrimPrefix(value, "reserved:")]
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		id, ok = uint32(n), true
	}
	if !ok {
		return nil, fmt.Errorf("%q is neither a number nor one of %s", value, strings.Join(slices.Sorted(maps.Keys(reservedIdentities)), ", "))
	}
	ids := []uint32{id}
	if value == "world" { // where both families are on, each has its own
		ids = []uint32{2, 9, 10}
	}
	return []*flow.FlowFilter{{SourceIdentity: ids}, {DestinationIdentity: ids}}[end], nil
}

// json takes a filter as the API has it.
func (s *flowFilters) json(text string, to *[]*flow.FlowFilter) error {
	f := &flow.FlowFilter{}
	if err := protojson.Unmarshal([]byte(text), f); err != nil {
		return fmt.Errorf("%q is not a filter: %w", text, err)
	}
	*to = append(*to, f)
	return nil
}

// lists are the filters of a request. Of conditions by different flags all must be met,
// each in one of its ways: the lists are the combinations.
func (s *flowFilters) lists() (white, black []*flow.FlowFilter, err error) {
	if s.not {
		return nil, nil, errors.New("--not turns the filter after it round, and there is none")
	}
	grouped := map[string][]*flow.FlowFilter{} // the alternatives of a flag, one for each end
	var order []string
	for _, c := range s.wanted {
		have := grouped[c.flag]
		if have == nil {
			order = append(order, c.flag)
			grouped[c.flag] = c.ways
			continue
		}
		for i, way := range c.ways {
			proto.Merge(have[i], way)
		}
	}
	for _, name := range order {
		white = product(white, grouped[name])
	}
	for _, c := range s.unwanted {
		black = append(black, c.ways...)
	}
	return append(white, s.raw.allow...), append(black, s.raw.deny...), nil
}

// product is every one of a together with every one of b.
func product(a, b []*flow.FlowFilter) []*flow.FlowFilter {
	if len(a) == 0 {
		return b
	}
	var out []*flow.FlowFilter
	for _, x := range a {
		for _, y := range b {
			both := proto.Clone(x).(*flow.FlowFilter)
			proto.Merge(both, y)
			out = append(out, both)
		}
	}
	return out
}

// momentForms are how a time may be written, beside a duration.
var momentForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"}

func parseMoment(name, text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return timestamppb.New(now.Add(-ago)), nil
	}
	for _, form := range momentForms {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return timestamppb.New(t), nil
		}
	}
	return nil, fmt.Errorf("%s: %q is not a time: write 5m (ago), 2006-01-02 or 2006-01-02T15:04:05Z", name, text)
}
