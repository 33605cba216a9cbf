package agent

// Paths of the requests about services. GET.
const (
	PathServices = "/v1/services" // -> Services; /NAMESPACE/NAME -> Service
	PathBackends = "/v1/backends" // -> []Backend
)

// Services is what `weir service list` prints.
type Services struct {
	Replacement bool             `json:"kubeProxyReplacement"` // false: services are kube-proxy's, and nothing is listed
	Frontends   []Frontend       `json:"frontends"`            // that are in the maps
	Problems    []ServiceProblem `json:"problems"`             // what of services is not in force
}

// Frontend is an address at which a service is asked for.
type Frontend struct {
	ID        uint32        `json:"id"`       // of its row in weir_frontends
	Frontend  string        `json:"frontend"` // "172.18.0.2:32000/TCP"; 0.0.0.0 and [::] stand for every address of any node; with a HostPort, of this one
	Type      string        `json:"type"`     // "ClusterIP", "NodePort", "LoadBalancer", "ExternalIPs", or a pod's "HostPort"
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Port      string        `json:"port,omitempty"` // its name
	Backends  []BackendName `json:"backends"`
}

// BackendName is a backend of a frontend.
type BackendName struct {
	Backend string `json:"backend"` // "10.0.0.72:80/TCP"
	State   string `json:"state"`   // "active", "terminating" or "not ready"
}

// ServiceProblem is what of a service, or of a pod's HostPorts, is left out, and why.
type ServiceProblem struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Pod       bool   `json:"pod,omitempty"` // it is a pod
	Problem   string `json:"problem"`
}

// Backend is a row of weir_backends.
type Backend struct {
	BackendName
	ID         uint32   `json:"id"`
	Generation uint32   `json:"generation"`
	Services   []string `json:"services"` // "namespace/name"
}

// Service is everything about one service on this node.
type Service struct {
	Namespace       string   `json:"namespace"`
	Name            string   `json:"name"`
	Type            string   `json:"type"` // "" for headless ones and names of elsewhere, which have no frontends
	ClusterIPs      []string `json:"clusterIPs"`
	ExternalIPs     []string `json:"externalIPs"`
	LoadBalancerIPs []string `json:"loadBalancerIPs"`
	SourceRanges    []string `json:"loadBalancerSourceRanges"`
	InternalPolicy  string   `json:"internalTrafficPolicy"`
	ExternalPolicy  string   `json:"externalTrafficPolicy"`
	Distribution    string   `json:"trafficDistribution,omitempty"`
	Affinity        int      `json:"sessionAffinitySeconds"` // 0: none
	PublishUnready  bool     `json:"publishNotReadyAddresses"`
	HealthPort      uint16   `json:"healthCheckNodePort,omitempty"`
	Algorithm       string   `json:"algorithm"`
	Forwarding      string   `json:"forwarding"`

	Ports    []ServicePort `json:"ports"`
	Problems []string      `json:"problems"`
}

// ServicePort is a port of a service in one family.
type ServicePort struct {
	Name      string            `json:"name,omitempty"`
	Port      string            `json:"port"`   // "80/TCP"
	Family    string            `json:"family"` // "IPv4" or "IPv6"
	NodePort  uint16            `json:"nodePort,omitempty"`
	ID        uint32            `json:"id"`              // in weir_services
	Hints     string            `json:"hints,omitempty"` // whose topology hints count: "zone" or "node"
	Frontends []ServiceFrontend `json:"frontends"`
	Endpoints []ServiceEndpoint `json:"endpoints"`
}

// ServiceFrontend is a frontend that the service wants.
type ServiceFrontend struct {
	ID       uint32   `json:"id"`
	Frontend string   `json:"frontend"`
	Type     string   `json:"type"`
	Flags    []string `json:"flags"`
	Inside   int      `json:"inside"`            // backends for those who are in the cluster
	Outside  int      `json:"outside"`           // and for everybody else
	Instead  string   `json:"instead,omitempty"` // who has it in this service's place
}

// ServiceEndpoint is an endpoint and whether it is chosen.
type ServiceEndpoint struct {
	BackendName
	ID         uint32 `json:"id"` // of its row in weir_backends
	Node       string `json:"node,omitempty"`
	Zone       string `json:"zone,omitempty"`
	Slice      string `json:"slice"`
	Inside     bool   `json:"inside"`               // chosen for clients of the ClusterIP
	Outside    bool   `json:"outside"`              // chosen for clients from outside
	NotInside  string `json:"notInside,omitempty"`  // why
	NotOutside string `json:"notOutside,omitempty"` // why; empty where the service cannot be reached from there
}

// ServicesStatus counts what is in force.
type ServicesStatus struct {
	Replacement   bool   `json:"kubeProxyReplacement"`
	DirectRouting string `json:"directRouting,omitempty"` // the device that has the node's address
	Mode          string `json:"mode"`                    // "snat", "dsr" or "hybrid", where a service does not say
	Dispatch      string `json:"dsrDispatch,omitempty"`   // "opt"; empty with "snat"
	Algorithm     string `json:"algorithm"`               // "random" or "maglev", where a service does not say
	Services      int    `json:"services"`
	Frontends     int    `json:"frontends"`
	Backends      int    `json:"backends"`
	Problems      int    `json:"problems"`               // `weir service list --problems`
	HealthChecks  int    `json:"healthChecks"`           // healthCheckNodePorts that are answered
	Healthz       string `json:"healthz,omitempty"`      // where /healthz and /livez are asked for; empty: nowhere
	HealthzError  string `json:"healthzError,omitempty"` // why nobody answers there
	SocketLB      bool   `json:"socketLB"`               // sockets choose backends themselves
	NodePorts     string `json:"nodePorts,omitempty"`    // "30000-32767"
	Acceleration  string `json:"acceleration,omitempty"` // by XDP: "Disabled", or how it runs and on which devices
}
