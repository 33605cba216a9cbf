package hubble

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Unknown says which messages in a message have a field that upstream does not know: a
// client of Hubble's would not see it.
func Unknown(m proto.Message) []string { return unknown(m.ProtoReflect(), nil) }

func unknown(m protoreflect.Message, out []string) []string {
	if raw := m.GetUnknown(); len(raw) > 0 {
		out = append(out, fmt.Sprintf("%s has a field that upstream does not know: % x", m.Descriptor().FullName(), raw))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				out = unknown(v.List().Get(i).Message(), out)
			}
		default:
			out = unknown(v.Message(), out)
		}
		return true
	})
	return out
}
