package metrics

import "github.com/prometheus/client_golang/prometheus"

// flowFamilies are Hubble's metrics of flows, by the names under which observe counts.
var flowFamilies = map[string]*Family{
	"drop":               Counter("hubble_drop_total", "Packets that were not let through, as far as there were events of them.", "reason", "protocol"),
	"flow":               Counter("hubble_flows_processed_total", "Flows of the node, which are of packets that were let on or dropped, and of verdicts of policies.", "protocol", "type", "subtype", "verdict"),
	"tcp":                Counter("hubble_tcp_flags_total", "Flows of TCP packets that were let on, by the first flag that they have: RST, FIN, SYN-ACK or SYN.", "flag", "family"),
	"icmp":               Counter("hubble_icmp_total", "Flows of ICMP packets that were let on.", "type", "family"),
	"port-distribution":  Counter("hubble_port_distribution_total", "Flows of packets that were let on to where a connection was opened, by port; other is all ports where nobody is known to be.", "protocol", "port"),
	"dns":                Counter("hubble_dns_responses_total", "Answers of DNS that pods of the node got, by how the question was answered, what it was for, and how many addresses there were.", "rcode", "qtypes", "ips_returned"),
	"dns-queries":        Counter("hubble_dns_queries_total", "Questions of DNS that were answered: each is counted when its answer comes, and one that nobody answers is not.", "rcode", "qtypes", "ips_returned"),
	"dns-response-types": Counter("hubble_dns_response_types_total", "Answers of DNS by the types of records that they have.", "type", "qtypes"),
	"lost":               Counter("hubble_lost_events_total", "Flows that are missing, by where: perf_event_ring_buffer is the programs' rings, hubble_ring_buffer readers that were too slow, each by itself.", "source"),
}

// FlowCollector reads what was counted of flows at each scrape. Count gives the name of
// what was counted, how many, and the labels in the order of its family.
func FlowCollector(count func(put func(what string, n uint64, labels ...string))) prometheus.Collector {
	var all []*Family
	for _, f := range flowFamilies {
		all = append(all, f)
	}
	return Collector(all, func(out Out) {
		count(func(what string, n uint64, labels ...string) { out.Put(flowFamilies[what], float64(n), labels...) })
	})
}
