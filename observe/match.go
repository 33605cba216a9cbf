package observe

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"weir/api/flow"
	"weir/state"
)

func firstNumber(raw []byte) protowire.Number {
	n, _, _ := protowire.ConsumeTag(raw)
	return n
}

// matchers make the predicate of each field of a filter. Those that are not here are
// refused.
var matchers = map[string]func(*flow.FlowFilter) (predicate, error){
	"uuid":                 byUUID,
	"source_ip":            func(f *flow.FlowFilter) (predicate, error) { return byAddr(f.SourceIp, addrOf(sender)) },
	"destination_ip":       func(f *flow.FlowFilter) (predicate, error) { return byAddr(f.DestinationIp, addrOf(receiver)) },
	"source_ip_xlated":     func(f *flow.FlowFilter) (predicate, error) { return byAddr(f.SourceIpXlated, (*view).taken) },
	"source_pod":           func(f *flow.FlowFilter) (predicate, error) { return byName(f.SourcePod, podOf(sender)) },
	"destination_pod":      func(f *flow.FlowFilter) (predicate, error) { return byName(f.DestinationPod, podOf(receiver)) },
	"source_service":       func(f *flow.FlowFilter) (predicate, error) { return byName(f.SourceService, serviceOf(sender)) },
	"destination_service":  func(f *flow.FlowFilter) (predicate, error) { return byName(f.DestinationService, serviceOf(receiver)) },
	"source_label":         func(f *flow.FlowFilter) (predicate, error) { return bySelector(f.SourceLabel, labelsOf(sender)) },
	"destination_label":    func(f *flow.FlowFilter) (predicate, error) { return bySelector(f.DestinationLabel, labelsOf(receiver)) },
	"node_labels":          func(f *flow.FlowFilter) (predicate, error) { return bySelector(f.NodeLabels, (*view).nodeLabels) },
	"source_workload":      func(f *flow.FlowFilter) (predicate, error) { return byWorkload(f.SourceWorkload, sender), nil },
	"destination_workload": func(f *flow.FlowFilter) (predicate, error) { return byWorkload(f.DestinationWorkload, receiver), nil },
	"source_cluster_name":  func(f *flow.FlowFilter) (predicate, error) { return among(f.SourceClusterName, clusterOf(sender)), nil },
	"destination_cluster_name": func(f *flow.FlowFilter) (predicate, error) {
		return among(f.DestinationClusterName, clusterOf(receiver)), nil
	},
	"source_port":      func(f *flow.FlowFilter) (predicate, error) { return byPort(f.SourcePort, sender) },
	"destination_port": func(f *flow.FlowFilter) (predicate, error) { return byPort(f.DestinationPort, receiver) },
	"source_identity":  func(f *flow.FlowFilter) (predicate, error) { return among(f.SourceIdentity, identityOf(sender)), nil },
	"destination_identity": func(f *flow.FlowFilter) (predicate, error) {
		return among(f.DestinationIdentity, identityOf(receiver)), nil
	},
	"traffic_direction": func(f *flow.FlowFilter) (predicate, error) { return among(f.TrafficDirection, (*view).direction), nil },
	"verdict":           func(f *flow.FlowFilter) (predicate, error) { return among(f.Verdict, (*view).verdict), nil },
	"drop_reason_desc": func(f *flow.FlowFilter) (predicate, error) {
		return among(f.DropReasonDesc, (*view).dropReasonDesc), nil
	},
	"ip_version":       func(f *flow.FlowFilter) (predicate, error) { return among(f.IpVersion, (*view).ipVersion), nil },
	"encrypted":        func(f *flow.FlowFilter) (predicate, error) { return among(f.Encrypted, (*view).encrypted), nil },
	"reply":            byReply,
	"event_type":       byEventType,
	"interface":        byInterface,
	"protocol":         byProtocol,
	"tcp_flags":        byTCPFlags,
	"node_name":        byNodeName,
	"policy":           byPolicyName,
	"source_fqdn":      func(f *flow.FlowFilter) (predicate, error) { return byFQDN(f.SourceFqdn, sender) },
	"destination_fqdn": func(f *flow.FlowFilter) (predicate, error) { return byFQDN(f.DestinationFqdn, receiver) },
	"dns_query":        byDNSQuery,
}

func addrOf(end int) func(*view) netip.Addr { return func(v *view) netip.Addr { return v.addr(end) } }

func identityOf(end int) func(*view) uint32 { return func(v *view) uint32 { return v.identity(end) } }

func podOf(end int) func(*view) (string, string) {
	return func(v *view) (string, string) {
		if p := v.ends[end]; p != nil {
			return p.pod.Namespace, p.pod.Name
		}
		return "", ""
	}
}

func serviceOf(end int) func(*view) (string, string) {
	return func(v *view) (string, string) {
		s := v.serviceOf(end)
		return s.GetNamespace(), s.GetName()
	}
}

func labelsOf(end int) func(*view) state.Labels {
	return func(v *view) state.Labels {
		if p := v.ends[end]; p != nil {
			return p.labels
		}
		return nil
	}
}

func clusterOf(end int) func(*view) string {
	return func(v *view) string {
		if p := v.ends[end]; p != nil {
			return p.told.ClusterName
		}
		return ""
	}
}

func (v *view) dropReasonDesc() flow.DropReason { return flow.DropReason(v.dropReason()) }

// encrypted is what no packet is yet.
func (v *view) encrypted() bool { return false }

func among[T comparable](wanted []T, of func(*view) T) predicate {
	return func(v *view) bool { return slices.Contains(wanted, of(v)) }
}

func byAddr(wanted []string, of func(*view) netip.Addr) (predicate, error) {
	var prefixes []netip.Prefix
	for _, text := range wanted {
		a, err := netip.ParseAddr(text)
		a = a.Unmap()
		p := netip.PrefixFrom(a, a.BitLen())
		if err != nil {
			p, err = netip.ParsePrefix(text)
		}
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("%q is neither an address nor a CIDR: write 10.0.0.7, 10.0.0.0/8 or fd00::/104", text)
		}
		prefixes = append(prefixes, p)
	}
	return func(v *view) bool {
		a := of(v)
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}, nil
}

// byName matches "namespace/prefix": see flow.proto.
func byName(wanted []string, of func(*view) (string, string)) (predicate, error) {
	type name struct{ namespace, prefix string }
	var names []name
	for _, text := range wanted {
		namespace, prefix, ok := strings.Cut(text, "/")
		if !ok {
			namespace, prefix = "default", text
		}
		if text == "" || strings.Contains(prefix, "/") {
			return nil, fmt.Errorf("%q is not a name: write NAMESPACE/NAME, NAMESPACE/ or /NAME", text)
		}
		names = append(names, name{namespace, prefix})
	}
	return func(v *view) bool {
		namespace, has := of(v)
		return has != "" && slices.ContainsFunc(names, func(n name) bool {
			return (n.namespace == "" || n.namespace == namespace) && strings.HasPrefix(has, n.prefix)
		})
	}, nil
}

func bySelector(wanted []string, of func(*view) state.Labels) (predicate, error) {
	var selectors []state.Selector
	for _, text := range wanted {
		s, err := parseSelector(text)
		if err != nil {
			return nil, err
		}
		selectors = append(selectors, s)
	}
	return func(v *view) bool {
		labels := of(v)
		return slices.ContainsFunc(selectors, func(s state.Selector) bool { return s.Matches(labels) })
	}, nil
}

func byWorkload(wanted []*flow.Workload, end int) predicate {
	return func(v *view) bool {
		if v.ends[end] == nil {
			return false
		}
		has := v.ends[end].workload
		return has.Name != "" && slices.ContainsFunc(wanted, func(w *flow.Workload) bool {
			return (w.Name == "" || w.Name == has.Name) && (w.Kind == "" || w.Kind == has.Kind)
		})
	}
}

func byPort(wanted []string, end int) (predicate, error) {
	type span struct{ first, last uint64 }
	var spans []span
	for _, text := range wanted {
		first, last, ok := strings.Cut(text, "-")
		if !ok {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("%q is neither a port nor a range: write 80 or 8000-9000", text)
		}
		spans = append(spans, span{a, b})
	}
	return func(v *view) bool {
		p := uint64(v.port(end))
		return v.hasPorts() && slices.ContainsFunc(spans, func(s span) bool { return s.first <= p && p <= s.last })
	}, nil
}

func byUUID(f *flow.FlowFilter) (predicate, error) {
	return func(v *view) bool { return slices.Contains(f.Uuid, v.uuid()) }, nil
}

// byReply: a flow of which that is not known has neither.
func byReply(f *flow.FlowFilter) (predicate, error) {
	return func(v *view) bool {
		reply, known := v.isReply()
		return known && slices.Contains(f.Reply, reply)
	}, nil
}

func byEventType(f *flow.FlowFilter) (predicate, error) {
	return func(v *view) bool {
		kind, sub := v.eventType()
		return slices.ContainsFunc(f.EventType, func(e *flow.EventTypeFilter) bool {
			return e.Type == kind && (!e.MatchSubType || e.SubType == sub)
		})
	}, nil
}

func byInterface(f *flow.FlowFilter) (predicate, error) {
	return func(v *view) bool {
		has := v.device()
		return slices.ContainsFunc(f.Interface, func(i *flow.NetworkInterface) bool {
			return (i.Index == 0 || i.Index == has.Index) && (i.Name == "" || i.Name == has.Name)
		})
	}, nil
}

// protocolNames are the numbers that filters' names mean.
var protocolNames = map[string][]uint8{"tcp": {protoTCP}, "udp": {protoUDP}, "sctp": {protoSCTP},
	"icmp": {protoICMP, protoICMPv6}, "icmpv4": {protoICMP}, "icmpv6": {protoICMPv6}}

func byProtocol(f *flow.FlowFilter) (predicate, error) {
	var numbers []uint8
	dns := false
	for _, name := range f.Protocol {
		if strings.EqualFold(name, "dns") {
			dns = true
			continue
		}
		known, ok := protocolNames[strings.ToLower(name)]
		if !ok {
			return nil, fmt.Errorf("%q is not a protocol that flows have: write tcp, udp, sctp, icmp, icmpv4, icmpv6 or dns", name)
		}
		numbers = append(numbers, known...)
	}
	return func(v *view) bool {
		return v.event.Family != 0 && slices.Contains(numbers, v.event.Proto) || dns && v.part == dnsAnswer
	}, nil
}

func byTCPFlags(f *flow.FlowFilter) (predicate, error) {
	var wanted []uint8
	for _, w := range f.TcpFlags {
		if w.NS {
			return nil, fmt.Errorf("NS: flows do not have this flag; leave it out")
		}
		wanted = append(wanted, flagBits(w))
	}
	return func(v *view) bool {
		return v.event.Family != 0 && v.event.Proto == protoTCP && slices.ContainsFunc(wanted, func(w uint8) bool { return v.event.TCPFlags&w == w })
	}, nil
}

func byNodeName(f *flow.FlowFilter) (predicate, error) {
	for _, pattern := range f.NodeName {
		if _, err := path.Match(pattern, ""); err != nil || strings.Count(pattern, "/") > 1 || pattern == "" {
			return nil, fmt.Errorf("%q is not a pattern for nodes: write NODE, CLUSTER/NODE or CLUSTER/, with * for any characters", pattern)
		}
	}
	return func(v *view) bool {
		return slices.ContainsFunc(f.NodeName, func(pattern string) bool { return matchesNode(pattern, v.o.opts.Cluster, v.o.opts.Node) })
	}, nil
}

func matchesNode(pattern, cluster, node string) bool {
	inCluster, inNode, ok := strings.Cut(pattern, "/")
	if !ok {
		inCluster, inNode = "*", pattern
	}
	if inNode == "" {
		inNode = "*"
	}
	a, _ := path.Match(inCluster, cluster)
	b, _ := path.Match(inNode, node)
	return a && b
}

// byPolicyName matches whoever allowed or denied, "name" in any namespace.
func byPolicyName(f *flow.FlowFilter) (predicate, error) {
	for _, text := range f.Policy {
		if text == "" || strings.Count(text, "/") > 1 {
			return nil, fmt.Errorf("%q is not a policy: write NAMESPACE/NAME or NAME", text)
		}
	}
	return func(v *view) bool {
		if v.policies == nil {
			return false
		}
		return slices.ContainsFunc(v.policies.get().keys, func(k state.PolicyKey) bool {
			return slices.Contains(f.Policy, k.Name) || k.Namespace != "" && slices.Contains(f.Policy, k.Namespace+"/"+k.Name)
		})
	}, nil
}
