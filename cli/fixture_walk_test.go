package cli

import (
	"time"

	"weir/api/agent"
)

// walk3 is a probe to a pod of another node: the first packet and its answer.
func walk3() agent.Walk {
	at := time.Date(2026, 6, 27, 9, 7, 0, 0, time.UTC)
	return agent.Walk{From: "pod/client", To: "service/web", Probe: "TCP from 10.0.1.5:40000 to 10.96.0.20:80", Answer: "connected after 260µs",
		Steps: []agent.Step{
			{Time: at, Node: "n1", Program: "socket", Hook: "socket call in the node's control group", Packet: "a call for TCP 10.96.0.20:80", Verdict: "forwarded",
				Reason: "Socket connected to a service's backend", To: "the backend 10.0.2.7:8080: its packets need no translation",
				Lookups:  []agent.Lookup{{Map: "weir_services", Key: "10.96.0.20:80/TCP", Found: "service default/web"}, {Map: "weir_backends", Key: "3", Found: "10.0.2.7:8080"}},
				Rewrites: []string{"destination 10.96.0.20:80 -> 10.0.2.7:8080"}},
			{Time: at.Add(40 * time.Microsecond), Node: "n1", Program: "from_pod", Hook: "ingress of weir0a1b2c3d4e5, the device of default/client",
				Packet: "TCP SYN 10.0.1.5:40000 -> 10.0.2.7:8080, 74 bytes, ttl 64", Verdict: "forwarded", Reason: "Forwarded to overlay", To: "node 192.168.1.2, through weir_vxlan with VNI 15773",
				Lookups:  []agent.Lookup{{Map: "weir_policy_rules", Key: "egress of default/client", Found: "allowed by rule 7: allow app in (web) on 8080/TCP (NetworkPolicy default/client)"}},
				Rewrites: []string{"ttl 64 -> 63"}},
			{Time: at.Add(160 * time.Microsecond), Node: "n1", Program: "from_overlay", Hook: "ingress of weir_vxlan", Reply: true,
				Packet: "TCP SYN,ACK 10.0.2.7:8080 -> 10.0.1.5:40000, 74 bytes, ttl 63", Verdict: "forwarded", Reason: "Forwarded to endpoint", To: "default/client, by bpf_redirect_peer"},
		}}
}

// why3 is a pod that a policy keeps from another, whose node does not answer.
func why3() agent.Why {
	end := func(name, ip string, id uint32) agent.ExplainedEnd {
		return agent.ExplainedEnd{Name: name, IP: ip, Identity: id, Labels: []string{"k8s:app=" + name[8:]}}
	}
	from, to := end("default/client", "10.0.1.5", 1001), end("default/web", "10.0.2.7", 15773)
	return agent.Why{From: from, To: to, Advice: []string{"add a rule: the nearest fails since port 81 is not 80", "`weir health status` on both nodes"}, Open: 2,
		Policy: agent.Explanation{Verdict: "denied", From: from, To: to, Proto: "TCP", Port: 81,
			Egress: agent.Judgement{Known: true, Enforced: true, Verdict: "denied", Origin: []string{"NetworkPolicy default/client"}, Nearest: "allow app in (web) on 80/TCP", Missed: "port 81 is not 80"}},
		Drops: []agent.WhyDrop{{Means: "an end is isolated in this direction, and no rule allows the connection", Do: "`weir policy explain`",
			Drop: agent.Drop{Time: probed, Place: "from_pod", Reason: "Policy denied", Direction: "egress", Proto: "TCP", TCPFlags: "SYN", Source: "10.0.1.5:40001", Dest: "10.0.2.7:81",
				SourceID: 1001, DestID: 15773, SourceName: "default/client", DestName: "default/web", Device: "weir0a1b2c3d4e5", Length: 74, Policies: []string{"NetworkPolicy default/client"}}}},
		Way: []agent.WayFact{{What: "node", Is: "n2 does not answer: timeout", Do: "`weir health status` on both nodes"}, {What: "MTU", Is: "pods send up to 1450, the way takes 1450", OK: true}}}
}
