package healthcheck

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"weir/state"
)

// grace is how long services may fail to be written before the node counts as ill:
// a load balancer that moves all its clients away for a moment's trouble does more
// harm than the trouble.
const grace = time.Minute

// Proxy is how services do on this node.
type Proxy struct {
	Last    time.Time // everything was in the maps; zero: never yet
	Failing time.Time // since when writing fails; zero: it does not
}

// healthy reports whether what services were asked for is in force, or not late yet.
func (p Proxy) healthy(now time.Time) bool {
	return p.Failing.IsZero() || now.Sub(p.Failing) < grace
}

// serviceHealth is what a load balancer is told of a service; fields as kube-proxy
// names them.
type serviceHealth struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

// weightHeader lets a load balancer give a node as much as it has endpoints.
const weightHeader = "X-Load-Balancing-Endpoint-Weight"

// answerService says whether this node serves a service. Before services were written
// for the first time it does not: a load balancer that listened would send clients
// to nobody.
func answerService(w http.ResponseWriter, name state.ServiceName, local int, p Proxy, now time.Time) {
	var body serviceHealth
	body.Service.Namespace, body.Service.Name = name.Namespace, name.Name
	body.LocalEndpoints, body.ServiceProxyHealthy = local, p.healthy(now) && !p.Last.IsZero()
	w.Header().Set(weightHeader, strconv.Itoa(local))
	answer(w, local > 0 && body.ServiceProxyHealthy, body)
}

// nodeHealth is what is told of the node; fields as kube-proxy names them.
type nodeHealth struct {
	LastUpdated  time.Time `json:"lastUpdated"`
	CurrentTime  time.Time `json:"currentTime"`
	NodeEligible *bool     `json:"nodeEligible,omitempty"`
}

// answerHealthz says whether load balancers are to send to this node. One that leaves
// the cluster is to get no connections, and keeps those that it has.
func answerHealthz(w http.ResponseWriter, leaves bool, p Proxy, now time.Time) {
	eligible := !leaves
	ok := eligible && p.healthy(now) && !p.Last.IsZero()
	answer(w, ok, nodeHealth{updated(p, ok, now), now, &eligible})
}

// answerLivez says whether services are looked after, and nothing of the node: who
// starts what is dead again has no use for a node that leaves.
func answerLivez(w http.ResponseWriter, p Proxy, now time.Time) {
	ok := p.healthy(now)
	answer(w, ok, nodeHealth{updated(p, ok, now), now, nil})
}

// updated is recent as long as all is well, as readers of kube-proxy's expect.
func updated(p Proxy, ok bool, now time.Time) time.Time {
	if ok {
		return now
	}
	return p.Last
}

func answer(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // whoever asked is gone
}
