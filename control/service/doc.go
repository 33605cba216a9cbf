// Package service derives which backends stand for which services on this node,
// writes it to the maps of services, and answers why.
//
// It reads services, slices, nodes, this node's devices, who has which address, pods
// that have HostPorts, and endpoints: where pods and their sockets are.
// It writes no table: what it wrote is in the maps.
//
//	slices ──> endpoints ──> who may be chosen ──> sets ──> weir_slots
//	               │          (ready, near, here)    │
//	               └──> backends ──> weir_backends   │ first slot, count
//	services ──> frontends ──> weir_frontends        ▼
//	                 └─────── who has them ──> weir_services
//
// # Numbers
//
// A backend, a frontend and a set of slots have a number for as long as anything
// names them, and keep it over a restart, since the maps are read back. A backend is
// there while a slice names it, so that connections of one that drains go on. Its
// row is free after that, with another generation, and is given to somebody else when
// 256 others were free. The row of a frontend keeps its address when the frontend
// goes, so that what is on its way still finds it. Slots rest for a second. A
// service's id is made of its name: what is remembered of its clients is never
// another's.
//
// What slots have in them does not change while anything names them: other backends
// are other slots. Ports that have the same backends share them, and so do the
// frontends inside and outside of the cluster.
//
// # Order of writes
//
// Backends, slots, frontends, ranges, then the entries of services that name them;
// what goes, goes the other way round, when no entry names it. So each write is of
// one entry, and whoever reads it finds all that it names. What does not fit is not
// written, nor what depends on it; what was there before stays, and all else goes on.
//
// # Who is chosen
//
// As kube-proxy does it: see choose. The client of a ClusterIP is served by the
// internal traffic policy, whoever asks at another address from outside by the
// external one, and from within the cluster by all backends.
//
// # Sockets
//
// A socket that is connected to a backend whose row was freed is ended, see Ending:
// the row's generation tells, so it may be long after.
//
// # Conflicts
//
// A frontend that several ports want stays with the one that has it; of several that
// come at once, the first by name gets it. An address of a node or a pod is nobody's
// frontend. Everything else of such services works.
//
// # HostPorts
//
// A pod of this node that has some is an owner like a service, and its plans have one
// endpoint, the pod (see compileHosted). It is there while control/endpoint has it.
package service
