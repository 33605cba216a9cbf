package state

import (
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Visible is the keys of the labels that some policy can tell: "k8s:app",
// "port:http". Only they make identities, so that a label which changes all the
// time, and which nobody asks for, costs nothing.
type Visible map[string]bool

// VisibleLabel is one of them.
type VisibleLabel struct{ Key string }

// Columns implements table.Row.
func (v VisibleLabel) Columns() []string { return []string{v.Key} }

// VisibleLabels returns what the policies can see, directly or through the
// selectors of services that they name. The labels of a pod's namespace and
// cluster are part of every identity, and not in it.
func VisibleLabels(policies iter.Seq2[PolicyKey, Policy], services iter.Seq2[ServiceName, Service]) Visible {
	v := Visible{}
	var named []Selector // of services
	for _, p := range policies {
		for _, s := range p.Specs {
			if !s.Nodes {
				v.add(s.Subject)
			}
			for _, r := range slices.Concat(s.Ingress, s.Egress) {
				named = append(named, v.addRule(r)...)
			}
		}
	}
	if len(named) == 0 {
		return v
	}
	for _, s := range services {
		labels := s.Identifying()
		if slices.ContainsFunc(named, func(n Selector) bool { return n.Matches(labels) }) {
			for key := range s.Selector {
				v["k8s:"+key] = true
			}
		}
	}
	return v
}

// addRule adds what a rule sees, and returns its selectors of services.
func (v Visible) addRule(r PolicyRule) (services []Selector) {
	for _, p := range r.Peers {
		switch p.Kind {
		case PeerEndpoints:
			v.add(p.Endpoints)
		case PeerServices:
			services = append(services, p.Services)
		}
	}
	for _, p := range r.Ports {
		if p.Name != "" {
			v[LabelNamedPortPrefix+p.Name] = true
		}
	}
	return services
}

// add adds the keys of a selector. Labels of pods are never of source reserved.
func (v Visible) add(s Selector) {
	for _, r := range s {
		key := r.Key
		if name, any := strings.CutPrefix(key, "any:"); any {
			key = "k8s:" + name
		}
		if !always[key] && !strings.HasPrefix(key, "reserved:") {
			v[key] = true
		}
	}
}

// always are the keys of labels that every identity of a pod has.
var always = map[string]bool{LabelNamespace: true, LabelCluster: true}

// Covers reports whether everything that o sees is visible.
func (v Visible) Covers(o Visible) bool {
	for key := range o {
		if !v[key] {
			return false
		}
	}
	return true
}

// Identifying returns the labels by which selectors of services know a service:
// its own, its name and its namespace.
func (s Service) Identifying() Labels {
	out := Labels{"name=" + s.Name.Name, "namespace=" + s.Name.Namespace}
	for k, v := range s.Labels {
		out = append(out, "k8s:"+k+"="+v)
	}
	slices.Sort(out)
	return out
}

// IdentityLabels returns the labels that make the identity of a pod: of all
// labels that it has, those that are visible. namespace are the labels of its
// Namespace object, nil when that is not known.
func IdentityLabels(p Pod, namespace map[string]string, cluster string, v Visible) Labels {
	out := Labels{LabelCluster + "=" + cluster, LabelNamespace + "=" + p.Name.Namespace}
	if p.ServiceAccount != "" && v[LabelServiceAccount] {
		out = append(out, LabelServiceAccount+"="+p.ServiceAccount)
	}
	for k, value := range p.Labels {
		if v["k8s:"+k] && !imitates(k) {
			out = append(out, "k8s:"+k+"="+value)
		}
	}
	for k, value := range namespace {
		if k != namespaceName && v[LabelNamespacePrefix+k] {
			out = append(out, LabelNamespacePrefix+k+"="+value)
		}
	}
	if v[LabelNamespacePrefix+namespaceName] {
		out = append(out, LabelNamespacePrefix+namespaceName+"="+p.Name.Namespace)
	}
	for name, numbers := range namedPorts(p.Ports) {
		if v[LabelNamedPortPrefix+name] {
			out = append(out, LabelNamedPortPrefix+name+"="+numbers)
		}
	}
	slices.Sort(out)
	return out
}

// namespaceName is the label that the API server gives every namespace.
const namespaceName = "kubernetes.io/metadata.name"

// imitates reports whether a pod's own label would pass for one of the system.
func imitates(key string) bool {
	return key == "io.kubernetes.pod.namespace" || key == "io.kubernetes.pod.name" || strings.HasPrefix(key, "io.cilium.k8s.")
}

// namedPorts returns the values of the labels of named ports: "TCP/53;UDP/53".
// Of two ports with one name and protocol the first counts, as it does in
// Kubernetes.
func namedPorts(ports []NamedPort) map[string]string {
	type one struct {
		name  string
		proto uint8
	}
	seen, lists := map[one]bool{}, map[string][]string{}
	for _, p := range ports {
		if seen[one{p.Name, p.Proto}] {
			continue
		}
		seen[one{p.Name, p.Proto}] = true
		lists[p.Name] = append(lists[p.Name], ProtoName(p.Proto)+"/"+strconv.Itoa(int(p.Port)))
	}
	out := map[string]string{}
	for name, list := range lists {
		slices.Sort(list)
		out[name] = strings.Join(list, ";")
	}
	return out
}
