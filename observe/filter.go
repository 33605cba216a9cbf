package observe

import (
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir/api/flow"
	"weir/api/observer"
)

// predicate says of a flow whether it has what a field of a filter asks for.
type predicate func(*view) bool

// filter is what a reader wants to see.
type filter struct {
	white, black [][]predicate // one list for each of the request's filters
}

func (f *filter) matches(v *view) bool {
	if v.part == lost {
		return true // whatever is missing could have been asked for
	}
	return (len(f.white) == 0 || slices.ContainsFunc(f.white, v.hasAll)) && !slices.ContainsFunc(f.black, v.hasAll)
}

func (v *view) hasAll(list []predicate) bool {
	for _, p := range list {
		if !p(v) {
			return false
		}
	}
	return true
}

// maxFilters bounds the filters of a request, maxValues those of a field, and maxOctets all
// of them together: each flow of the ring may be held against every value, and 32 KiB of
// the shortest take 10 µs for one.
const (
	maxFilters = 1024
	maxValues  = 1024
	maxOctets  = 32 << 10
)

// compile reads the filters of a request. The error names the field, the value and what
// to write.
func compile(white, black []*flow.FlowFilter) (*filter, error) {
	out := &filter{}
	if n := proto.Size(&observer.GetFlowsRequest{Whitelist: white, Blacklist: black}); n > maxOctets {
		return nil, status.Errorf(codes.InvalidArgument, "whitelist and blacklist: %d octets: at most %d are possible: ask for less, or in several requests", n, maxOctets)
	}
	for _, list := range []struct {
		name string
		from []*flow.FlowFilter
		to   *[][]predicate
	}{{"whitelist", white, &out.white}, {"blacklist", black, &out.black}} {
		if len(list.from) > maxFilters {
			return nil, status.Errorf(codes.InvalidArgument, "%s: %d filters: at most %d are possible", list.name, len(list.from), maxFilters)
		}
		for i, f := range list.from {
			compiled, err := compileOne(f)
			if err != nil {
				return nil, status.Errorf(codes.InvalidArgument, "%s[%d].%v", list.name, i, err)
			}
			*list.to = append(*list.to, compiled)
		}
	}
	return out, nil
}

// compileOne reads one filter; one without a field matches everything.
func compileOne(f *flow.FlowFilter) ([]predicate, error) {
	out := []predicate{}
	var problem error
	f.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := string(field.Name())
		if field.IsList() && value.List().Len() > maxValues {
			problem = fmt.Errorf("%s: %d values: at most %d are possible", name, value.List().Len(), maxValues)
			return false
		}
		make, ok := matchers[name]
		if !ok {
			problem = fmt.Errorf("%s: this version of Weir cannot filter by it: %s", name, absent[name])
			return false
		}
		p, err := make(f)
		if err != nil {
			problem = fmt.Errorf("%s: %w", name, err)
			return false
		}
		out = append(out, p)
		return true
	})
	if problem == nil {
		problem = unknownFields(f)
	}
	return out, problem
}

// absent says of fields without a matcher why there is none.
var absent = map[string]string{
	"http_status_code": noLayer7,
	"http_method":      noLayer7,
	"http_path":        noLayer7,
	"http_url":         noLayer7,
	"http_header":      noLayer7,
	"trace_id":         noLayer7,
	"ip_trace_id":      "packets carry no trace ids; leave it out",
	"experimental":     "there is no CEL here; write the condition with the other fields",
}

const (
	noLayer7 = "flows know no layer 7 but DNS; filter by port and protocol"
)

// unknownFields refuses what a newer client may ask for: to ignore it would show what it
// does not want to see.
func unknownFields(m proto.Message) error {
	var problem error
	refuse := func(where string, m protoreflect.Message) {
		if raw := m.GetUnknown(); len(raw) > 0 && problem == nil {
			problem = fmt.Errorf("%sfield number %d is not known to this version of Weir: leave it out", where, firstNumber(raw))
		}
	}
	refuse("", m.ProtoReflect())
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil {
			return true
		}
		where := string(field.Name()) + "."
		if !field.IsList() {
			refuse(where, value.Message())
			return true
		}
		for i := range value.List().Len() {
			refuse(where, value.List().Get(i).Message())
		}
		return true
	})
	return problem
}
