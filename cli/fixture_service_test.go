package cli

import (
	"time"

	"weir/api/agent"
)

// services3 are the answers about services of cluster3.
func services3() fake {
	web := []agent.BackendName{{Backend: "10.0.0.72:80/TCP", State: "active"}, {Backend: "10.0.1.9:80/TCP", State: "active"}, {Backend: "10.0.2.4:80/TCP", State: "terminating"}}
	row := func(id uint32, at, kind string, backends []agent.BackendName) agent.Frontend {
		return agent.Frontend{ID: id, Frontend: at, Type: kind, Namespace: "default", Name: "web", Port: "http", Backends: backends}
	}
	dns := row(1, "10.96.0.10:53/UDP", "ClusterIP", nil)
	dns.Namespace, dns.Name, dns.Port = "kube-system", "kube-dns", "dns"
	return fake{
		agent.PathServices: agent.Services{Replacement: true,
			Frontends: []agent.Frontend{dns, row(4, "10.96.7.1:80/TCP", "ClusterIP", web[:1]), row(6, "172.18.0.2:32000/TCP", "NodePort", web),
				row(7, "0.0.0.0:32000/TCP", "NodePort", web), row(12, "[::]:32000/TCP", "NodePort", web[:1])},
			Problems: []agent.ServiceProblem{{Namespace: "default", Name: "late", Problem: "172.18.0.2:32000/TCP is default/web port 80/TCP's: it is left out"},
				{Namespace: "prod", Name: "api", Problem: "ExternalIPs 10.0.0.72 is the address of pod default/web: it is left out"}}},
		agent.PathServices + "/default/web":  webService(),
		agent.PathServices + "/default/none": &agent.Error{Message: "no service default/none is known; `weir table services` names all"},
		agent.PathServices + "/default/peers": agent.Service{Namespace: "default", Name: "peers", InternalPolicy: "Cluster", ExternalPolicy: "Cluster",
			Algorithm: "random", Forwarding: "snat"},
		agent.PathNATRetries: []agent.NATRetries{{Retries: "0", Connections: 12345}, {Retries: "1", Connections: 678}, {Retries: "2-3"}, {Retries: "none free", Connections: 2}},
		agent.PathAffinities: []agent.Affinity{
			{Client: "198.51.100.9", Service: "default/web", Port: "172.18.0.2:32000/TCP", Backend: "10.0.1.9:80", Idle: 5 * time.Second, Expires: 3*time.Hour - 5*time.Second},
			{Client: "netns 17", Service: "default/web", Port: "10.96.7.1:80/TCP", Backend: "10.0.0.72:80", Expires: 3 * time.Hour}},
		agent.PathL2: []agent.L2Announcement{
			{Address: "172.18.200.1", Services: []string{"default/web"}, Holder: "n1", Local: true, Device: "eth0", Responses: 17},
			{Address: "172.18.200.1", Services: []string{"default/web"}, Holder: "n1", Local: true, Device: "eth1"},
			{Address: "172.18.200.2", Services: []string{"prod/api", "prod/api-udp"}, Holder: "n2"},
			{Address: "172.18.200.3", Services: []string{"prod/new"}},
			{Address: "fc00::200:1", Services: []string{"default/web"}, Holder: "n1", Local: true}},
		agent.PathBackends: []agent.Backend{
			{BackendName: web[0], ID: 1, Generation: 1, Services: []string{"default/web", "default/web-canary"}},
			{BackendName: web[1], ID: 3, Generation: 4, Services: []string{"default/web"}},
			{BackendName: agent.BackendName{Backend: "[fd00::9]:53/UDP", State: "not ready"}, ID: 12, Generation: 1, Services: []string{"kube-system/kube-dns"}},
		},
	}
}

func webService() agent.Service {
	name := func(at, state string) agent.BackendName { return agent.BackendName{Backend: at, State: state} }
	return agent.Service{Namespace: "default", Name: "web", Type: "LoadBalancer", ClusterIPs: []string{"10.96.7.1", "fd96::7:1"},
		LoadBalancerIPs: []string{"198.51.100.7"}, SourceRanges: []string{"192.0.2.0/24"}, InternalPolicy: "Cluster", ExternalPolicy: "Local",
		Distribution: "PreferSameZone", Affinity: 10800, HealthPort: 30500, Algorithm: "maglev", Forwarding: "dsr",
		Ports: []agent.ServicePort{
			{Name: "http", Port: "80/TCP", Family: "IPv4", NodePort: 32000, ID: 3141592653, Hints: "zone", Frontends: []agent.ServiceFrontend{
				{ID: 4, Frontend: "10.96.7.1:80/TCP", Type: "ClusterIP", Flags: []string{"maglev"}, Inside: 1},
				{ID: 5, Frontend: "198.51.100.7:80/TCP", Type: "LoadBalancer", Flags: []string{"external", "ranges", "maglev", "keepclient", "dsr"}, Inside: 1, Outside: 1},
				{Frontend: "0.0.0.0:32000/TCP", Type: "NodePort", Instead: "default/first port 80/TCP"},
			}, Endpoints: []agent.ServiceEndpoint{
				{BackendName: name("10.0.0.72:80/TCP", "active"), ID: 1, Node: "n1", Zone: "b", Slice: "web-x7k2p", Outside: true, NotInside: "meant for zone b, this node is in a"},
				{BackendName: name("10.0.1.9:80/TCP", "active"), ID: 3, Node: "n2", Zone: "a", Slice: "web-x7k2p", Inside: true, NotOutside: "not on this node"},
				{BackendName: name("10.0.2.4:80/TCP", "terminating"), ID: 9, Node: "n3", Zone: "b", Slice: "web-q9wzd", NotInside: "terminating, and others are ready", NotOutside: "not on this node"},
				{BackendName: name("10.0.2.5:80/TCP", "not ready"), ID: 10, Node: "n3", Zone: "b", Slice: "web-q9wzd", NotInside: "not ready", NotOutside: "not ready"},
			}},
			{Name: "http", Port: "80/TCP", Family: "IPv6", ID: 17, Frontends: []agent.ServiceFrontend{{ID: 8, Frontend: "[fd96::7:1]:80/TCP", Type: "ClusterIP"}}},
		},
		Problems: []string{"0.0.0.0:32000/TCP is default/first port 80/TCP's: it is left out"}}
}
