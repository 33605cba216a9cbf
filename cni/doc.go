// Package cni is the CNI plugin: it turns the protocol of a container runtime
// (environment, JSON on stdin and stdout) into one request to the agent on this
// node, and its answer into a CNI result or error.
//
// It is thin so that it starts fast and hardly ever needs an upgrade: the agent
// allocates, makes devices and attaches programs. Every call ends within a
// limit, whatever the agent does; a DEL that finds no agent is written to the
// delete queue (see EnqueueDelete in api/agent), so that a pod can go while
// the agent is away. It delegates to no other plugin.
package cni
