// Package lab makes a cluster in a box: nodes, and a host outside of the
// cluster, are network namespaces on one underlay; a real weir-agent runs in
// each node; pods are namespaces that the real weir-cni joins through libcni.
// There is no daemon of the lab's own, no container runtime and no API server.
//
//	          world  172.18.0.254            /run/weir/lab/NAME/
//	            │ eth0                         lab.json    what was made, pids with start times
//	┌───────────┴───────────┐                  objects/    Kubernetes objects, read by every agent
//	│ bridge "br0", 172.18/16│ underlay        logs/       one file for each container
//	└──┬─────────┬─────────┬┘                  n1/         weir.yaml, agent.log, run/, bpf/, conflist
//	 n1│eth0   n2│eth0   n3│eth0
//	pods...    pods...   pods...
//
// Every namespace is kept in /run/netns as weir-NAME-..., so that
// `ip netns exec` works on it; what runs on a node is also in a control group of
// the node's own (cgroup.go). The lab plays the operator with the pure
// functions of package operator: it writes CiliumNode and CiliumIdentity
// objects. In the same way it plays the API server, which gives services their
// addresses and ports, and the controller of EndpointSlices. A folder or a
// namespace that the lab did not make is refused by name and left alone.
//
// It does not pull images, restart containers or isolate anything but the
// network. Other Kubernetes objects are handed to the agents untouched.
package lab
