package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"weir/api/agent"
)

// someYAML is what the tests have on standard input.
const someYAML = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"

// policies3 is what the agent of cluster3 knows of identities, policy and connections.
func policies3() fake {
	return fake{
		agent.PathIdentities:         identities3(),
		agent.PathPolicies:           policyObjects3(),
		agent.PathPolicyOf + "/1":    policyOfWeb(),
		agent.PathPolicyOf + "/2":    agent.EndpointPolicy{Endpoint: 2, Identity: 4, Class: 1, Epoch: 2},
		agent.PathPolicyOf + "/host": policyOfHost(),
		agent.PathPolicyExplain:      explain3,
		agent.PathPolicyTrace:        trace3,
		agent.PathPolicyReplay:       replay3,
		agent.PathConnections:        connections3(),
		agent.PathDrops:              drops3(),
	}
}

func identities3() []agent.Identity {
	return []agent.Identity{
		{ID: 1, Labels: []string{"reserved:host"}, Scope: "reserved"},
		{ID: 2, Labels: []string{"reserved:world"}, Scope: "reserved"},
		{ID: 9, Labels: []string{"reserved:world", "reserved:world-ipv4"}, Scope: "reserved"},
		{ID: 15773, Labels: []string{"k8s:app=web", "k8s:io.cilium.k8s.policy.cluster=demo", "k8s:io.kubernetes.pod.namespace=default"}, Refs: 12, Scope: "cluster",
			Selectors: []string{"k8s:app in (web), k8s:io.kubernetes.pod.namespace in (default)", "entity cluster"}},
		{ID: 16777216, Labels: []string{"k8s:app=client", "k8s:io.kubernetes.pod.namespace=default"}, Refs: 1, Scope: "node"},
	}
}

func policyObjects3() []agent.Policy {
	return []agent.Policy{
		{Kind: "NetworkPolicy", Namespace: "default", Name: "web", State: "in force", Rules: 2, Endpoints: []uint32{1, 7}},
		{Kind: "CiliumNetworkPolicy", Namespace: "default", Name: "api", State: "in force", Rules: 3, Endpoints: []uint32{1}, Conditions: []agent.RuleProblems{
			{Rule: "spec.ingress[0]", Message: "toPorts[0].rules.http is not enforced yet: the entry allows nothing"}}},
		{Kind: "CiliumNetworkPolicy", Namespace: "default", Name: "bad", State: "refused", Message: `spec.ingress[0].toPorts[0].ports[0].port: "70000" is not a port: use 1 to 65535 or a name`},
		{Kind: "CiliumClusterwideNetworkPolicy", Name: "nodes", State: "not enforced", Rules: 1, Message: "hostFirewall.enabled is false"},
	}
}

func policyOfWeb() agent.EndpointPolicy {
	return agent.EndpointPolicy{Endpoint: 1, Pod: "default/web", Identity: 15773, Class: 3, Epoch: 41,
		Ingress: agent.DirectionRule{Enforced: true, Response: "reject", IsolatedBy: []string{"NetworkPolicy default/web", "CiliumNetworkPolicy default/api"}, Rules: []agent.EffectiveRule{
			{ID: 12, Action: "allow", Peer: "k8s:app in (client), k8s:io.kubernetes.pod.namespace in (default)", Port: "80/TCP",
				Origin: []string{"NetworkPolicy default/web spec.ingress[0]", "CiliumNetworkPolicy default/api spec.ingress[1]"}, Packets: 1200, Bytes: 98000},
			{ID: 13, Action: "deny", Peer: "cidr 192.0.2.0/24", Port: "ANY", Origin: []string{"CiliumNetworkPolicy default/api spec.ingressDeny[0]"}},
		}},
	}
}

func policyOfHost() agent.EndpointPolicy {
	return agent.EndpointPolicy{Identity: 1, Class: 9, Epoch: 5,
		Egress:  agent.DirectionRule{Enforced: true, Response: "drop", IsolatedBy: []string{"CiliumClusterwideNetworkPolicy nodes"}},
		Ingress: agent.DirectionRule{Rules: []agent.EffectiveRule{{ID: 2, Action: "deny", Peer: "entity world", Port: "22/TCP", Origin: []string{"CiliumClusterwideNetworkPolicy nodes spec.ingressDeny[0]"}, Packets: 3, Bytes: 222}}},
	}
}

// explain3 answers by what is asked, so that a wrong request has a wrong answer.
func explain3(r *http.Request) any {
	var q agent.ExplainRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.Method != http.MethodPost {
		return &agent.Error{Message: "not a request"}
	}
	client := agent.ExplainedEnd{Name: "default/client", IP: "10.0.1.9", Identity: 16777216, Labels: []string{"k8s:app=client", "k8s:io.kubernetes.pod.namespace=default"}, Endpoint: 7}
	web := agent.ExplainedEnd{Name: "default/web", IP: "10.0.1.7", Identity: 15773, Labels: []string{"k8s:app=web"}, Endpoint: 1}
	free := agent.Judgement{Known: true, Verdict: "not enforced"}
	switch q {
	case agent.ExplainRequest{From: "default/client", To: "default/web", Port: 80}, agent.ExplainRequest{From: "default/client", To: "default/web", Port: 80, Proto: "TCP"}:
		return agent.Explanation{Verdict: "allowed", From: client, To: web, Proto: "TCP", Port: 80, Egress: free, Ingress: agent.Judgement{
			Known: true, Enforced: true, Verdict: "allowed", Rule: "allow k8s:app in (client) 80/TCP", Origin: []string{"NetworkPolicy default/web spec.ingress[0]"}}}
	case agent.ExplainRequest{From: "default/client", To: "default/web", Port: 81}:
		return agent.Explanation{Verdict: "denied", From: client, To: web, Proto: "TCP", Port: 81, Egress: free, Ingress: agent.Judgement{
			Known: true, Enforced: true, Verdict: "denied", Origin: []string{"NetworkPolicy default/web", "CiliumNetworkPolicy default/api"},
			Nearest: "allow k8s:app in (client) 80/TCP (NetworkPolicy default/web spec.ingress[0])", Missed: "port 81 is not 80"}}
	case agent.ExplainRequest{From: "default/client", To: "host"}:
		return agent.Explanation{Verdict: "denied", From: client, To: agent.ExplainedEnd{Name: "host", Identity: 1, Labels: []string{"reserved:host"}}, Proto: "TCP", Note: "the host firewall is off",
			Egress: agent.Judgement{Known: true, Verdict: "denied", Rule: "deny entity host ANY", Origin: []string{"CiliumNetworkPolicy default/no-host spec.egressDeny[0]"}}}
	case agent.ExplainRequest{From: "default/client", To: "fd00:1::7", Proto: "ICMPv6", Port: 128}:
		web.Name, web.IP, web.Endpoint = "fd00:1::7", "fd00:1::7", 0
		return agent.Explanation{Verdict: "allowed", From: client, To: web, Proto: "ICMPv6", Port: 128, Egress: free}
	case agent.ExplainRequest{From: "world", To: "identity:6", Proto: "GRE"}:
		return agent.Explanation{Verdict: "unknown", From: agent.ExplainedEnd{Name: "world", Identity: 2}, To: agent.ExplainedEnd{Name: "identity:6", Identity: 6}, Proto: "GRE"}
	}
	return &agent.Error{Message: `no pod "` + q.From + `" is known`}
}

func trace3(r *http.Request) any {
	var q agent.TraceRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.Method != http.MethodPost {
		return &agent.Error{Message: "not a request"}
	}
	if q.File == "stdin" && q.YAML == someYAML {
		return agent.TraceReply{}
	}
	if q.File != "testdata/trace.yaml" || !strings.Contains(q.YAML, "fromEntities: [mars]") {
		return &agent.Error{Message: "not the file: " + q.File}
	}
	return agent.TraceReply{
		Problems: []agent.Problem{{Object: "CiliumNetworkPolicy default/web", File: q.File, Line: 8, Error: `spec.ingress[0].fromEntities[0]: "mars" is not an entity: use all, world, cluster, host or another of docs/policy.md`}},
		Changes: []agent.TraceChange{
			{Endpoint: 1, Pod: "default/web", Direction: "ingress", Isolates: true, Added: []string{"allow k8s:app in (client) 80/TCP"}, Removed: []string{"allow everybody ANY"}},
			{Endpoint: 0, Direction: "egress", Frees: true},
			{Endpoint: 2, Direction: "egress", Added: []string{"deny entity world ANY"}},
		},
		Verdicts: []agent.TraceFlow{{Connection: "TCP 10.0.2.9:40000 -> 10.0.1.7:80", Now: "allowed", Then: "denied", Because: "no rule of CiliumNetworkPolicy default/web allows it"}},
	}
}

func connections3() agent.Connections {
	return agent.Connections{Count: 120, Capacity: 65536, Limit: 400000, Pressure: 0.0003, Memory: 9 << 20, Entries: []agent.Connection{
		{Proto: "TCP", Source: "10.0.2.9:40000", Dest: "10.0.1.7:80", State: "established", Expires: 7*time.Hour + 59*time.Minute + 58*time.Second, Idle: 2 * time.Second,
			Sent: agent.Counter{Packets: 12, Bytes: 980}, Answered: agent.Counter{Packets: 10, Bytes: 12000}, Ingress: 12, Out: [2]string{"endpoint 1", "tunnel 192.168.1.2"}},
		{Proto: "TCP", Source: "[fd00:1::7]:51000", Dest: "[2001:db8::1]:8080", State: "closing", Expires: 9400 * time.Millisecond, Out: [2]string{"fib", "endpoint 1"}, Egress: 3, Stale: true},
		{Proto: "TCP", Source: "10.0.1.7:41000", SourceAs: "192.168.1.1:1711", Dest: "198.51.100.9:443", State: "established", Idle: 3 * time.Second, Expires: time.Hour, Out: [2]string{"fib", "endpoint 1"}},
		{Proto: "TCP", Source: "198.51.100.9:52000", SourceAs: "192.168.1.1:1712", Dest: "192.168.1.1:32000", Backend: "10.0.2.4:80", State: "new", Expires: time.Minute, Out: [2]string{"tunnel 192.168.1.2", "fib"}},
		{Proto: "UDP", Source: "10.0.1.7:50000", Dest: "10.0.2.9:53", State: "new", Expires: 30 * time.Second, Sent: agent.Counter{Packets: 1, Bytes: 74}, Out: [2]string{"tunnel 192.168.1.2", "unknown"}},
		{Proto: "ICMP", Source: "10.0.1.7:4711", Dest: "192.168.1.1:8", State: "established", Expires: 29 * time.Second, Sent: agent.Counter{Packets: 1, Bytes: 98}, Answered: agent.Counter{Packets: 1, Bytes: 98}, Out: [2]string{"host", "endpoint 1"}},
	}}
}

func drops3() []agent.Drop {
	at := now.Add(-time.Minute)
	return []agent.Drop{
		{Seq: 7, Time: at, Place: "from_pod", Reason: "Policy denied", Direction: "egress", Proto: "TCP", TCPFlags: "SYN", Source: "10.0.1.9:34567", Dest: "10.0.2.9:5433",
			SourceID: 16777216, SourceName: "default/client", DestID: 20000, DestName: "default/db", Device: "weir0123456789b", Length: 74,
			Policies: []string{"NetworkPolicy default/client", "CiliumNetworkPolicy default/egress"}, Nearest: "allow k8s:app in (db) 5432/TCP", Missed: "port 5433 is not 5432"},
		{Seq: 8, Time: at.Add(1234567 * time.Nanosecond), Place: "from_netdev", Reason: "Policy denied by denylist", Direction: "ingress", Proto: "UDP", Source: "[2001:db8::1]:53", Dest: "[fd00:1::7]:40000",
			SourceID: 10, SourceName: "world", DestID: 15773, DestName: "default/web", Device: "eth0", Length: 120, Policies: []string{"CiliumNetworkPolicy default/api"}},
		{Seq: 9, Time: at.Add(time.Second), Place: "from_pod", Reason: "Unsupported L2 protocol", Proto: "0x88cc", SourceID: 15773, SourceName: "default/web", Device: "weir0123456789a", Length: 60},
		{Seq: 10, Time: at.Add(2 * time.Second), Place: "from_pod", Reason: "FIB lookup failed", Cause: "a prohibit route", Direction: "egress", Proto: "UDP", Source: "10.0.1.7:40000", Dest: "203.0.113.9:53",
			SourceID: 15773, SourceName: "default/web", DestID: 2, DestName: "world", Device: "weir0123456789a", Length: 74},
	}
}
