package observe

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"weir/api/flow"
)

// mask is which fields of a flow are told, each with those within it. An empty one below
// the first is everything.
type mask map[string]mask

// never are the fields of Hubble's flows that Weir's do not have: to ask for them is no
// mistake, and gives nothing.
var never = []string{"auth_type", "ethernet", "tunnel", "l7.latency_ns", "l7.http", "l7.kafka", "file", "ip_trace_id", "debug_capture_point",
	"proxy_port", "trace_context", "sock_xlate_point", "socket_cookie", "cgroup_id", "extensions", "policy_log", "aggregate"}

func parseMask(m *fieldmaskpb.FieldMask) (mask, error) {
	if len(m.GetPaths()) == 0 {
		return nil, nil
	}
	out := mask{}
	for _, path := range m.Paths {
		if slices.ContainsFunc(never, func(name string) bool { return path == name || strings.HasPrefix(path, name+".") }) {
			continue
		}
		if _, err := fieldmaskpb.New(&flow.Flow{}, path); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "field_mask: a flow has no field %q: write names of flow.Flow such as source.pod_name", path)
		}
		at := out
		for name := range strings.SplitSeq(path, ".") {
			if at[name] == nil {
				at[name] = mask{}
			}
			at = at[name]
		}
		clear(at) // all of it, whatever was asked for of it before
	}
	return out, nil
}

// apply returns what the mask leaves of a flow, which stays as it is.
func (m mask) apply(f *flow.Flow) *flow.Flow {
	if m == nil {
		return f
	}
	return m.of(f.ProtoReflect()).Interface().(*flow.Flow)
}

func (m mask) of(in protoreflect.Message) protoreflect.Message {
	out := in.New()
	in.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		within, wanted := m[string(field.Name())]
		switch {
		case !wanted:
		case len(within) == 0 || field.IsList() || field.Message() == nil:
			out.Set(field, value)
		default:
			out.Set(field, protoreflect.ValueOfMessage(within.of(value.Message())))
		}
		return true
	})
	return out
}
