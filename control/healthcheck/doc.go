// Package healthcheck tells load balancers outside of the cluster whether this node
// wants traffic, over HTTP, as kube-proxy does.
//
// A service of type LoadBalancer whose external traffic policy is Local has a port,
// its healthCheckNodePort, at which each node says how many ready endpoints of it the
// node has. Another address says of the node as a whole whether services work on it
// (/livez) and whether it is to stay (/healthz, KEP-3836).
//
//	services, slices, this node ──> wanted ──> checks ──> placesOf ──> opener: sockets
//	                                  │                                   │ each request
//	                                  └── who does without                └──> answers
//
// What is to be open is derived from rows alone; opener is the edge that binds. A
// place that cannot be bound costs only itself: it is named, and tried again.
//
// It forwards nothing, and does not look at maps: how services do is told by whoever
// runs them.
package healthcheck
