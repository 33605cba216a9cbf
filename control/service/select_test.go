package service

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weir/state"
)

// parse reads endpoints: "NAME[@NODE]:WORDS", of which "zone=a,b" and "node=n1" are
// hints. Names are single letters; their order is that of their addresses.
func parse(t *testing.T, text string) []endpoint {
	t.Helper()
	var out []endpoint
	for field := range strings.FieldsSeq(text) {
		name, words, _ := strings.Cut(field, ":")
		name, on, _ := strings.Cut(name, "@")
		e := &state.SliceEndpoint{Addr: netip.AddrFrom4([4]byte{10, 0, 0, name[0]}), Node: on}
		for word := range strings.SplitSeq(words, "+") {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "ready":
				e.Ready, e.Serving = true, true
			case "drain":
				e.Serving, e.Terminating = true, true
			case "dead":
				e.Terminating = true
			case "unready":
			case "zone":
				e.HintZones = strings.Split(value, ",")
			case "node":
				e.HintNodes = strings.Split(value, ",")
			default:
				t.Fatalf("what is %q?", word)
			}
		}
		out = append(out, endpoint{at: netip.AddrPortFrom(e.Addr, 80), e: e})
	}
	return out
}

func names(all []endpoint, indexes []int) string {
	var out strings.Builder
	for _, i := range indexes {
		out.WriteByte(all[i].e.Addr.As4()[3])
	}
	return out.String()
}

// The cases are those of TestCategorizeEndpoints of kube-proxy, and some more.
// Seed rows B13 to B17 rest on it.
func TestWhoIsChosen(t *testing.T) {
	for _, c := range []struct {
		what, endpoints, cluster, local string
		publish                         bool
	}{
		{"nobody", "", "", "", false},
		{"ready ones", "a:ready b:unready c:ready", "ac", "", false},
		{"unready ones when the service publishes them", "a@n1:ready b:unready c@n1:dead", "abc", "ac", true},
		{"those of this node", "a@n1:ready b@n2:ready c:ready", "abc", "a", false},
		{"those that drain, when none is ready", "a:drain b:drain c:dead d:unready", "ab", "", false},
		{"not those that drain, when one is ready", "a:drain b:ready", "b", "", false},
		{"here and in the cluster each for itself", "a@n1:drain b@n2:ready", "b", "a", false},
		{"here a ready one", "a@n1:drain b@n1:ready c@n2:drain", "b", "b", false},
		{"ready although it terminates", "a:ready+drain", "a", "", false},
		{"hints for our zone", "a:ready+zone=a b:ready+zone=b c:ready+zone=a,b", "ac", "", false},
		{"hints do not narrow Local", "a@n1:ready+zone=b b@n2:ready+zone=a", "b", "a", false},
		{"one without a hint", "a:ready+zone=a b:ready", "ab", "", false},
		{"none for our zone", "a:ready+zone=b b:ready+zone=c", "ab", "", false},
		{"an unready one without a hint does not matter", "a:ready+zone=a b:ready+zone=b c:unready", "a", "", false},
		{"a draining one without a hint does not matter", "a:ready+zone=a b:ready+zone=b c:drain", "a", "", false},
		{"hints of those that drain do not count", "a:drain+zone=b b:drain+zone=a", "ab", "", false},
		{"hints for this node", "a:ready+node=n1+zone=a b:ready+node=n2+zone=a", "a", "", false},
		{"none for this node: the zone's", "a:ready+node=n2+zone=a b:ready+node=n3+zone=b", "a", "", false},
		{"none for this node or its zone", "a:ready+node=n2+zone=c b:ready+node=n3+zone=b", "ab", "", false},
		{"nodes' hints that one lacks: the zone's", "a:ready+node=n1+zone=a b:ready+zone=b", "a", "", false},
		{"nodes' hints without zones'", "a:ready+node=n2 b:ready+node=n3", "ab", "", false},
	} {
		all := parse(t, c.endpoints)
		s := choose(all, node{"n1", "a"}, c.publish)
		if got := names(all, s.cluster); got != c.cluster {
			t.Errorf("%s: %q are chosen in the cluster, want %q", c.what, got, c.cluster)
		}
		if got := names(all, s.local); got != c.local {
			t.Errorf("%s: %q are chosen here, want %q", c.what, got, c.local)
		}
		explained(t, c.what, all, s, c.publish)
	}
}

// explained checks that there is a reason for everyone who is not chosen, and for
// nobody else.
func explained(t *testing.T, what string, all []endpoint, s selection, publish bool) {
	t.Helper()
	in := func(list []int, i int) bool { return strings.Contains(fmt.Sprint(list)+" ", fmt.Sprint(i)) }
	for i := range all {
		cluster, local := s.unused(all[i].e, node{"n1", "a"}, publish)
		if in(s.cluster, i) != (cluster == "") || in(s.local, i) != (local == "") {
			t.Errorf("%s: endpoint %c is chosen %v and %v, because of %q and %q", what, all[i].e.Addr.As4()[3], in(s.cluster, i), in(s.local, i), cluster, local)
		}
	}
}

func TestANodeWithoutANameHasNoEndpoints(t *testing.T) {
	all := parse(t, "a:ready b@n1:ready")
	if s := choose(all, node{}, false); len(s.local) != 0 {
		t.Errorf("%q are on a node without a name", names(all, s.local))
	}
}

func TestAnEndpointOfSeveralSlicesIsThereOnce(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	slice := func(name string, ready bool, port uint16) *state.Slice {
		return &state.Slice{Name: state.SliceName{Namespace: "d", Name: name}, Ports: []state.SlicePort{{Proto: 6, Port: port}},
			Endpoints: []state.SliceEndpoint{{Addr: a, Ready: ready}}}
	}
	got := merge([]*state.Slice{slice("x", false, 80), slice("y", true, 80), slice("z", true, 81), slice("0", true, 0)}, state.ServicePort{Proto: 6}, true, false)
	if len(got) != 2 || !got[0].e.Ready || got[0].in.Name.Name != "y" || got[1].at.Port() != 81 {
		t.Errorf("merged to %+v, want the ready one of y and the other port of z", got)
	}
}
