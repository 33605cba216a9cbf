package page

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"weir/api/flow"
	"weir/api/observer"
)

const (
	maxLast = 5000 // flows of before, of each node
	maxText = 200  // octets of a value
)

// parameters are what may be asked for, and how it is read.
var parameters = map[string]func(*question, string) error{
	"follow":    (*question).readFollow,
	"last":      (*question).readLast,
	"verdict":   (*question).readVerdict,
	"namespace": func(q *question, v string) error { q.namespace = v; return nil },
	"pod":       func(q *question, v string) error { q.pod = v; return nil },
	"text":      func(q *question, v string) error { q.text = strings.ToLower(v); return nil },
}

// question is what a page wants to see.
type question struct {
	follow         bool
	last           uint64
	namespace, pod string
	text           string // in lower case
	verdict        []flow.Verdict
}

// read reads a query. The error names the parameter, the value and what to write.
func read(values url.Values) (question, error) {
	q := question{last: 100}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		set, known := parameters[name]
		given := values[name]
		switch {
		case !known:
			return q, fmt.Errorf("%s: there is no such parameter: %s", printable(name), strings.Join(slices.Sorted(maps.Keys(parameters)), ", "))
		case len(given) > 1:
			return q, fmt.Errorf("%s: given %d times: give one value", name, len(given))
		case len(given[0]) > maxText:
			return q, fmt.Errorf("%s: %d octets: at most %d are possible", name, len(given[0]), maxText)
		case given[0] == "":
			continue // as a form sends what is not filled in
		}
		if err := set(&q, given[0]); err != nil {
			return q, fmt.Errorf("%s: \"%s\": %w", name, printable(given[0]), err)
		}
	}
	return q, q.joinPod()
}

func (q *question) readFollow(value string) (err error) {
	if q.follow, err = strconv.ParseBool(value); err != nil {
		return fmt.Errorf("write 1 or 0")
	}
	return nil
}

func (q *question) readLast(value string) (err error) {
	if q.last, err = strconv.ParseUint(value, 10, 64); err != nil || q.last > maxLast {
		return fmt.Errorf("write a number from 0 to %d", maxLast)
	}
	return nil
}

func (q *question) readVerdict(value string) error {
	v, ok := flow.Verdict_value[strings.ToUpper(value)]
	if !ok || v == 0 {
		return fmt.Errorf("write forwarded or dropped")
	}
	q.verdict = []flow.Verdict{flow.Verdict(v)}
	return nil
}

// joinPod puts a pod's namespace to its name.
func (q *question) joinPod() error {
	switch {
	case strings.Contains(q.namespace, "/"):
		return fmt.Errorf("namespace: \"%s\": write a name without a slash", printable(q.namespace))
	case q.pod == "" && q.namespace != "":
		q.pod = q.namespace + "/"
	case q.namespace != "" && strings.Contains(q.pod, "/"):
		return fmt.Errorf("pod: \"%s\": namespace is given, too: leave one of them out, or write the name only", printable(q.pod))
	case q.namespace != "":
		q.pod = q.namespace + "/" + q.pod
	}
	return nil
}

// request asks an Observer for it: of either end, as `weir observe` does.
func (q *question) request() *observer.GetFlowsRequest {
	out := &observer.GetFlowsRequest{Follow: q.follow, Number: q.last}
	switch {
	case q.pod != "":
		out.Whitelist = []*flow.FlowFilter{{SourcePod: []string{q.pod}, Verdict: q.verdict}, {DestinationPod: []string{q.pod}, Verdict: q.verdict}}
	case q.verdict != nil:
		out.Whitelist = []*flow.FlowFilter{{Verdict: q.verdict}}
	}
	return out
}

// has reports whether a flow has the text in one of its names, addresses, ports, labels,
// policies or reasons.
func (q *question) has(f *flow.Flow) bool {
	return q.text == "" || slices.ContainsFunc(words(f), func(w string) bool { return strings.Contains(strings.ToLower(w), q.text) })
}

// words are what a flow can be found by.
func words(f *flow.Flow) []string {
	out := []string{f.NodeName, f.Verdict.String(), f.Summary}
	if r := f.DropReasonDesc; r != 0 {
		out = append(out, r.String(), r.Text())
	}
	source, destination := ports(f.L4)
	for _, end := range []struct {
		e       *flow.Endpoint
		service *flow.Service
		ip      string
		port    uint32
	}{{f.Source, f.SourceService, f.IP.GetSource(), source}, {f.Destination, f.DestinationService, f.IP.GetDestination(), destination}} {
		address := end.ip
		if end.port != 0 {
			address = fmt.Sprintf("%s:%d", end.ip, end.port)
		}
		out = append(out, address, end.e.GetNamespace()+"/"+end.e.GetPodName(), end.service.GetNamespace()+"/"+end.service.GetName())
		out = append(out, end.e.GetLabels()...)
	}
	out = append(append(out, f.SourceNames...), f.DestinationNames...)
	for _, list := range [][]*flow.Policy{f.EgressAllowedBy, f.IngressAllowedBy, f.EgressDeniedBy, f.IngressDeniedBy} {
		for _, p := range list {
			out = append(out, p.Namespace+"/"+p.Name)
		}
	}
	return out
}

// ports are 0 where a protocol has none.
func ports(l *flow.Layer4) (source, destination uint32) {
	if p := l.GetTCP(); p != nil {
		return p.SourcePort, p.DestinationPort
	}
	if p := l.GetUDP(); p != nil {
		return p.SourcePort, p.DestinationPort
	}
	return l.GetSCTP().GetSourcePort(), l.GetSCTP().GetDestinationPort()
}
