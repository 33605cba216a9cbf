package hubble

import (
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/cilium/cilium/api/v1/flow"
	"github.com/cilium/cilium/api/v1/observer"
	"github.com/cilium/cilium/api/v1/peer"
	"github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ours are the fields and values that upstream does not have.
var ours = map[protoreflect.FullName]bool{
	"flow.FlowFilter.policy": true,
	"flow.DROP_MULTICAST":    true, "flow.DROP_TUNNEL_SOURCE": true, "flow.DROP_DSR_SOURCE": true,
}

// Every field, value and method of our .proto files is upstream's: number, name, type.
func TestOurProtoFilesAreUpstreams(t *testing.T) {
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"../../api"}})}
	theirs := map[string]protoreflect.FileDescriptor{"flow/flow.proto": flow.File_flow_flow_proto, "observer/observer.proto": observer.File_observer_observer_proto,
		"peer/peer.proto": peer.File_peer_peer_proto, "relay/relay.proto": relay.File_relay_relay_proto}
	for name, upstream := range theirs {
		files, err := c.Compile(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		s := shape{t: t}
		s.messages(files[0].Messages(), upstream.Messages())
		s.enums(files[0].Enums(), upstream.Enums())
		for i := range files[0].Services().Len() {
			s.service(files[0].Services().Get(i), upstream.Services().ByName(files[0].Services().Get(i).Name()))
		}
		if s.compared == 0 {
			t.Errorf("%s: nothing was compared", name)
		}
	}
	fields := flow.File_flow_flow_proto.Messages().ByName("FlowFilter").Fields()
	files, err := c.Compile(t.Context(), "flow/flow.proto")
	if err != nil {
		t.Fatal(err)
	}
	for i := range fields.Len() {
		if files[0].Messages().ByName("FlowFilter").Fields().ByNumber(fields.Get(i).Number()) == nil {
			t.Errorf("FlowFilter.%s is upstream's and not ours: it could not be refused by name", fields.Get(i).Name())
		}
	}
}

type shape struct {
	t        *testing.T
	compared int
}

func (s *shape) messages(have, want protoreflect.MessageDescriptors) {
	for i := range have.Len() {
		m := have.Get(i)
		w := want.ByName(m.Name())
		if w == nil {
			s.t.Errorf("%s is no message of upstream's", m.FullName())
			continue
		}
		s.messages(m.Messages(), w.Messages())
		s.enums(m.Enums(), w.Enums())
		for j := range m.Fields().Len() {
			s.field(m.Fields().Get(j), w.Fields())
		}
	}
}

func (s *shape) field(f protoreflect.FieldDescriptor, want protoreflect.FieldDescriptors) {
	if ours[f.FullName()] {
		if want.ByNumber(f.Number()) != nil {
			s.t.Errorf("%s: upstream has given number %d to %s", f.FullName(), f.Number(), want.ByNumber(f.Number()).Name())
		}
		return
	}
	w := want.ByNumber(f.Number())
	if w == nil {
		s.t.Errorf("%s: upstream has no number %d", f.FullName(), f.Number())
		return
	}
	s.compared++
	kindOf := func(f protoreflect.FieldDescriptor) string {
		out := f.Cardinality().String() + " " + f.Kind().String()
		if f.Message() != nil {
			out += " " + string(f.Message().FullName())
		}
		if f.Enum() != nil {
			out += " " + string(f.Enum().FullName())
		}
		if o := f.ContainingOneof(); o != nil {
			out += " one of " + string(o.Name())
		}
		return out
	}
	if f.Name() != w.Name() || kindOf(f) != kindOf(w) || f.JSONName() != w.JSONName() {
		s.t.Errorf("%s: %s %s, upstream %s %s", f.FullName(), f.Name(), kindOf(f), w.Name(), kindOf(w))
	}
}

func (s *shape) enums(have, want protoreflect.EnumDescriptors) {
	for i := range have.Len() {
		e := have.Get(i)
		w := want.ByName(e.Name())
		if w == nil {
			s.t.Errorf("%s is no enum of upstream's", e.FullName())
			continue
		}
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			s.compared++
			if x := w.Values().ByName(v.Name()); !ours[v.FullName()] && (x == nil || x.Number() != v.Number()) {
				s.t.Errorf("%s = %d: upstream has %v", v.FullName(), v.Number(), x)
			} else if ours[v.FullName()] && w.Values().ByNumber(v.Number()) != nil {
				s.t.Errorf("%s: upstream has given number %d away", v.FullName(), v.Number())
			}
		}
	}
}

func (s *shape) service(have, want protoreflect.ServiceDescriptor) {
	if want == nil || have.Methods().Len() != want.Methods().Len() {
		s.t.Errorf("service %s: not upstream's methods", have.FullName())
		return
	}
	for i := range have.Methods().Len() {
		m := have.Methods().Get(i)
		w := want.Methods().ByName(m.Name())
		s.compared++
		if w == nil || m.Input().FullName() != w.Input().FullName() || m.Output().FullName() != w.Output().FullName() || m.IsStreamingServer() != w.IsStreamingServer() || m.IsStreamingClient() != w.IsStreamingClient() {
			s.t.Errorf("%s is not upstream's", m.FullName())
		}
	}
}
