package state

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// see returns the visible keys of one spec.
func see(services []Service, specs ...PolicySpec) string {
	key := PolicyKey{Kind: KindCNP, Namespace: "default", Name: "p"}
	byName := map[ServiceName]Service{}
	for _, s := range services {
		byName[s.Name] = s
	}
	v := VisibleLabels(maps.All(map[PolicyKey]Policy{key: {Key: key, Specs: specs}}), maps.All(byName))
	return strings.Join(slices.Sorted(maps.Keys(v)), " ")
}

func TestOnlyWhatPoliciesNameIsVisible(t *testing.T) {
	exists := func(keys ...string) Selector {
		var s Selector
		for _, k := range keys {
			s = append(s, Requirement{Key: k, Op: Exists})
		}
		return s
	}
	peer := func(p PolicyPeer) PolicySpec { return PolicySpec{Ingress: []PolicyRule{{Peers: []PolicyPeer{p}}}} }
	db := Service{Name: ServiceName{"default", "db"}, Labels: map[string]string{"tier": "back"}, Selector: map[string]string{"app": "db", "role": "main"}}
	for name, c := range map[string]struct {
		spec PolicySpec
		want string
	}{
		"nothing":            {PolicySpec{}, ""},
		"subject":            {PolicySpec{Subject: exists("k8s:app", "any:tier")}, "k8s:app k8s:tier"},
		"absent labels too":  {PolicySpec{Subject: Selector{{Key: "k8s:debug", Op: DoesNotExist}}}, "k8s:debug"},
		"node subject":       {PolicySpec{Nodes: true, Subject: exists("k8s:disk")}, ""},
		"ingress peer":       {peer(PolicyPeer{Kind: PeerEndpoints, Endpoints: exists("any:app")}), "k8s:app"},
		"egress denial":      {PolicySpec{Egress: []PolicyRule{{Deny: true, Peers: []PolicyPeer{{Kind: PeerEndpoints, Endpoints: exists("k8s:x")}}}}}, "k8s:x"},
		"node peer":          {peer(PolicyPeer{Kind: PeerNodes, Nodes: exists("k8s:disk")}), ""},
		"cidr group":         {peer(PolicyPeer{Kind: PeerCIDRGroups, CIDRGroups: exists("k8s:g")}), ""},
		"reserved":           {peer(PolicyPeer{Kind: PeerEndpoints, Endpoints: exists("reserved:host")}), ""},
		"namespace":          {peer(PolicyPeer{Kind: PeerEndpoints, Endpoints: exists("any:io.kubernetes.pod.namespace", LabelCluster)}), ""},
		"namespace's labels": {peer(PolicyPeer{Kind: PeerEndpoints, Endpoints: exists("any:io.cilium.k8s.namespace.labels.team")}), LabelNamespacePrefix + "team"},
		"service account":    {PolicySpec{Subject: exists("any:io.cilium.k8s.policy.serviceaccount")}, LabelServiceAccount},
		"named port":         {PolicySpec{Ingress: []PolicyRule{{AnyPeer: true, Ports: []PolicyPort{{Proto: ProtoTCP, Name: "http"}, {Proto: ProtoTCP, First: 80, Last: 80}}}}}, "port:http"},
		"service by name":    {peer(PolicyPeer{Kind: PeerServices, Services: Selector{{Key: "name", Op: In, Values: []string{"db"}}, {Key: "namespace", Op: In, Values: []string{"default"}}}}), "k8s:app k8s:role"},
		"service by labels":  {peer(PolicyPeer{Kind: PeerServices, Services: Selector{{Key: "any:tier", Op: In, Values: []string{"back"}}}}), "k8s:app k8s:role"},
		"another service":    {peer(PolicyPeer{Kind: PeerServices, Services: Selector{{Key: "name", Op: In, Values: []string{"web"}}}}), ""},
	} {
		if got := see([]Service{db}, c.spec); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestIdentityLabelsAreThoseThatAreVisible(t *testing.T) {
	pod := Pod{Name: PodName{"shop", "web-1"}, ServiceAccount: "web", Labels: map[string]string{"app": "web", "hash": "x1",
		"io.kubernetes.pod.namespace": "kube-system", "io.kubernetes.pod.name": "other", "io.cilium.k8s.policy.cluster": "theirs",
		"io.cilium.k8s.namespace.labels.team": "root", "io.cilium.k8s.policy.serviceaccount": "admin"},
		Ports: []NamedPort{{"dns", ProtoUDP, 53}, {"dns", ProtoTCP, 53}, {"dns", ProtoTCP, 5353}, {"http", ProtoTCP, 80}}}
	all := Visible{}
	for _, key := range []string{"k8s:app", "k8s:hash", LabelNamespace, LabelCluster, LabelServiceAccount, "k8s:io.kubernetes.pod.name",
		LabelNamespacePrefix + "team", LabelNamespacePrefix + "kubernetes.io/metadata.name", "port:dns", "port:http", "port:none"} {
		all[key] = true
	}
	base := "k8s:io.cilium.k8s.policy.cluster=lab k8s:io.kubernetes.pod.namespace=shop"
	for name, c := range map[string]struct {
		visible   Visible
		namespace map[string]string
		want      string
	}{
		"none":                 {nil, map[string]string{"team": "a"}, base},
		"one":                  {Visible{"k8s:app": true}, nil, "k8s:app=web " + base},
		"a label it lacks":     {Visible{"k8s:role": true}, nil, base},
		"namespace not known":  {Visible{LabelNamespacePrefix + "kubernetes.io/metadata.name": true}, nil, "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop " + base},
		"namespace that lies":  {Visible{LabelNamespacePrefix + "kubernetes.io/metadata.name": true}, map[string]string{"kubernetes.io/metadata.name": "kube-system"}, "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop " + base},
		"all, and no imitator": {all, map[string]string{"team": "a"}, "k8s:app=web k8s:hash=x1 k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop k8s:io.cilium.k8s.namespace.labels.team=a k8s:io.cilium.k8s.policy.cluster=lab k8s:io.cilium.k8s.policy.serviceaccount=web k8s:io.kubernetes.pod.namespace=shop port:dns=TCP/53;UDP/53 port:http=TCP/80"},
	} {
		if got := strings.Join(IdentityLabels(pod, c.namespace, "lab", c.visible), " "); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

func TestLabelsForPeopleHaveNoImitators(t *testing.T) {
	pod := Pod{Name: PodName{"shop", "web-1"}, ServiceAccount: "web", Labels: map[string]string{"app": "web", "io.kubernetes.pod.namespace": "kube-system"}}
	want := "k8s:app=web k8s:io.cilium.k8s.policy.cluster=lab k8s:io.cilium.k8s.policy.serviceaccount=web k8s:io.kubernetes.pod.namespace=shop"
	if got := strings.Join(PodLabels(pod, "lab"), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCoversIsAboutEveryKey(t *testing.T) {
	ab, a := Visible{"a": true, "b": true}, Visible{"a": true}
	if !ab.Covers(a) || a.Covers(ab) || !a.Covers(nil) {
		t.Error("a set of keys covers its subsets, and only these")
	}
}
