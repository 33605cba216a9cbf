package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"weir/api/agent"
)

func replay3(r *http.Request) any {
	var q agent.ReplayRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.Method != http.MethodPost {
		return &agent.Error{Message: "not a request"}
	}
	if q.File == "stdin" && q.YAML == someYAML && q.Since == 5*time.Minute {
		return agent.ReplayReply{Node: "n1", Asked: q.Since, Kept: 20 * time.Minute, Connections: 1}
	}
	if q.File != "testdata/trace.yaml" || !strings.Contains(q.YAML, "fromEntities: [mars]") || q.Since != time.Hour {
		return &agent.Error{Message: "not the file and time: " + q.File + " " + q.Since.String()}
	}
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	return agent.ReplayReply{
		Node: "n1", Asked: q.Since, Kept: 12 * time.Minute, Connections: 912, Elsewhere: 20, Apart: 3, Lost: 17,
		Problems: []agent.Problem{{Object: "CiliumNetworkPolicy default/web", File: q.File, Line: 8, Error: `spec.ingress[0].fromEntities[0]: "mars" is not an entity`}},
		Changed: []agent.ReplayedFlow{
			{Source: "Deployment default/client", Destination: "Deployment default/web", Port: "8080/TCP", Direction: "ingress", Was: "allowed", Now: "allowed", Then: "denied",
				Connections: 612, First: before(11 * time.Minute), Last: before(2 * time.Second), Origin: []string{"NetworkPolicy default/web"},
				Nearest: "allow k8s:app in (client) on 80/TCP (NetworkPolicy default/web spec.ingress[0])", Missed: "port 8080 is not 80"},
			{Source: "default/job", Destination: "reserved:world 198.51.100.9", Port: "type 8/ICMPv4", Direction: "egress", Was: "allowed", Now: "allowed", Then: "denied",
				Connections: 1, First: before(time.Minute), Last: before(time.Minute), Rule: "deny entity world on ANY", Origin: []string{"CiliumNetworkPolicy default/job spec.egressDeny[0]"}},
			{Source: "reserved:remote-node", Destination: "Deployment default/web", Port: "80/TCP", Direction: "ingress", Was: "denied", Now: "denied", Then: "allowed",
				Connections: 4, First: before(3 * time.Minute), Last: before(time.Minute), Rule: "allow entity remote-node on 80/TCP", Origin: []string{"NetworkPolicy default/web spec.ingress[1]"}},
			{Source: "default/free", Destination: "default/db", Port: "GRE", Direction: "ingress", Was: "denied", Now: "denied", Then: "allowed",
				Connections: 2, First: before(3 * time.Minute), Last: before(time.Minute)},
		},
		NotJudged: []agent.NotJudgedFlow{{Source: "default/old", Destination: "Deployment default/web", Port: "80/TCP", Connections: 7,
			Why: "source: the pod is gone, and nobody knows the labels of its identity 4711 any more"}},
	}
}
