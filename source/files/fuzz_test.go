package files

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"weir/source/convert"
	"weir/state"
)

// Whatever text is taken as a policy has values that the compiler can rely on.
func FuzzAcceptedPoliciesAreValid(f *testing.F) {
	names, _ := filepath.Glob("testdata/policy/*.txt")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(txtar.Parse(data).Files[0].Data)
	}
	f.Add([]byte(policyYAML))
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, _ := Policies("f.yaml", data, convert.Scope{})
		for _, p := range policies {
			checkPolicy(t, p)
		}
	})
}

func checkPolicy(t *testing.T, p state.Policy) {
	t.Helper()
	namespaced := p.Key.Kind != state.KindCCNP
	if p.Key.Name == "" || (p.Key.Namespace != "") != namespaced || len(p.Specs) == 0 {
		t.Errorf("key %+v with %d specs", p.Key, len(p.Specs))
	}
	if p.Respond != "" && p.Respond != state.DenyDrop && p.Respond != state.DenyReject {
		t.Errorf("respond %q", p.Respond)
	}
	for _, s := range p.Specs {
		limit := state.Requirement{Key: state.LabelNamespace, Op: state.In, Values: []string{p.Key.Namespace}}
		limited := slices.ContainsFunc(s.Subject, func(r state.Requirement) bool {
			return r.Key == limit.Key && r.Op == limit.Op && slices.Equal(r.Values, limit.Values)
		})
		if s.Path == "" || s.Nodes && namespaced || limited != namespaced && namespaced {
			t.Errorf("%s: spec %q of %s, nodes %v", p.Key, s.Path, s.Subject, s.Nodes)
		}
		checkSelector(t, s.Subject)
		for _, r := range slices.Concat(s.Ingress, s.Egress) {
			checkRule(t, r)
		}
	}
}

func checkRule(t *testing.T, r state.PolicyRule) {
	t.Helper()
	if r.Path == "" || r.AnyPeer && len(r.Peers) > 0 || r.AnyPort && len(r.Ports) > 0 || r.Deny && r.NotEnforced != "" {
		t.Errorf("rule %+v", r)
	}
	for _, p := range r.Ports {
		number := p.First >= 1 || p.Proto == state.ProtoICMP || p.Proto == state.ProtoICMPv6
		kinds := 0
		for _, is := range []bool{p.All, p.Name != "", !p.All && p.Name == "" && number && p.First <= p.Last} {
			if is {
				kinds++
			}
		}
		if kinds != 1 || p.Path == "" || p.Proto == state.ProtoAny {
			t.Errorf("port %+v", p)
		}
	}
	for _, p := range r.Peers {
		checkPeer(t, p)
	}
}

func checkPeer(t *testing.T, p state.PolicyPeer) {
	t.Helper()
	ok := p.Path != ""
	switch p.Kind {
	case state.PeerEndpoints:
		ok = ok && p.Endpoints != nil
		checkSelector(t, p.Endpoints)
	case state.PeerEntity:
		ok = ok && p.Entity != ""
	case state.PeerCIDR:
		ok = ok && p.CIDR.IsValid() && p.CIDR == p.CIDR.Masked()
	case state.PeerCIDRGroups:
		ok = ok && p.CIDRGroups != nil
		checkSelector(t, p.CIDRGroups)
	case state.PeerNodes:
		ok = ok && p.Nodes != nil
		checkSelector(t, p.Nodes)
	case state.PeerServices:
		ok = ok && p.Services != nil
		checkSelector(t, p.Services)
	default:
		ok = false
	}
	bad := func(e netip.Prefix) bool {
		return !e.IsValid() || e != e.Masked() || p.Kind == state.PeerCIDR && (!p.CIDR.Contains(e.Addr()) || e.Bits() < p.CIDR.Bits())
	}
	if !ok || slices.ContainsFunc(p.Except, bad) {
		t.Errorf("peer %+v", p)
	}
}

func checkSelector(t *testing.T, s state.Selector) {
	t.Helper()
	if s.String() != s.Sorted().String() {
		t.Errorf("selector %s is not sorted", s)
	}
	for _, r := range s {
		values := r.Op == state.In || r.Op == state.NotIn
		if r.Key == "" || values != (len(r.Values) > 0) || !slices.Contains([]state.Operator{state.In, state.NotIn, state.Exists, state.DoesNotExist}, r.Op) {
			t.Errorf("requirement %+v", r)
		}
	}
}

// Whatever text is taken as a service or a slice has values that need no second
// look.
func FuzzAcceptedServicesAreValid(f *testing.F) {
	f.Add([]byte(serviceYAML))
	f.Add([]byte(strings.NewReplacer("clusterIP: 10.96.0.10", "type: LoadBalancer\n  externalIPs: [192.0.2.1]\n  sessionAffinity: ClientIP\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 31000\n  loadBalancerSourceRanges: [10.0.0.1/8]").Replace(serviceYAML)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, e := range load("f.yaml", data, convert.Scope{}).entries {
			switch row := e.value.(type) {
			case state.Service:
				checkService(t, row)
			case state.Slice:
				checkSlice(t, row)
			}
		}
	})
}

func checkAddr(t *testing.T, a netip.Addr) {
	t.Helper()
	if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		t.Errorf("address %s", a)
	}
}

func checkService(t *testing.T, s state.Service) {
	t.Helper()
	for _, a := range slices.Concat(s.ClusterIPs, s.ExternalIPs, s.LoadBalancerIPs) {
		checkAddr(t, a)
	}
	if len(s.ClusterIPs) > 2 || len(s.ClusterIPs) == 2 && s.ClusterIPs[0].Is4() == s.ClusterIPs[1].Is4() {
		t.Errorf("cluster IPs %v", s.ClusterIPs)
	}
	type number struct {
		proto uint8
		port  uint16
	}
	seen := map[number]bool{}
	for _, p := range s.Ports {
		if p.Port == 0 || !slices.Contains([]uint8{state.ProtoTCP, state.ProtoUDP, state.ProtoSCTP}, p.Proto) || seen[number{p.Proto, p.Port}] || p.NodePort != 0 && s.Kind == state.ServiceClusterIP {
			t.Errorf("port %+v of %+v", p, s)
		}
		seen[number{p.Proto, p.Port}] = true
	}
	for _, p := range s.SourceRanges {
		if !p.IsValid() || p != p.Masked() {
			t.Errorf("source range %s", p)
		}
	}
	bare := state.Service{Name: s.Name, Labels: s.Labels, Selector: s.Selector}
	if s.Name.Name == "" || s.Affinity < 0 || s.Affinity > 24*time.Hour || s.Kind == state.ServiceNone && !s.Same(bare) {
		t.Errorf("service %+v", s)
	}
}

func checkSlice(t *testing.T, s state.Slice) {
	t.Helper()
	for _, a := range s.Addrs {
		checkAddr(t, a)
	}
	if !slices.IsSortedFunc(s.Addrs, netip.Addr.Compare) || len(slices.Compact(slices.Clone(s.Addrs))) != len(s.Addrs) {
		t.Errorf("addresses %v", s.Addrs)
	}
	for _, e := range s.Endpoints {
		if !slices.Contains(s.Addrs, e.Addr) {
			t.Errorf("endpoint %+v is not among %v", e, s.Addrs)
		}
	}
}
