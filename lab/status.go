package lab

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
)

// Status is how a lab is doing, read from the processes and agents themselves.
type Status struct {
	Name  string       `json:"name"`
	Up    bool         `json:"up"`
	Mode  string       `json:"mode"`
	Dir   string       `json:"dir"`
	World []string     `json:"world"` // addresses
	Nodes []NodeStatus `json:"nodes"`
	Pods  []PodStatus  `json:"pods"`
}

// NodeStatus is a node with its agent.
type NodeStatus struct {
	Name      string         `json:"name"`
	Netns     string         `json:"netns"`
	Addresses []netip.Addr   `json:"addresses"`
	PodCIDRs  []netip.Prefix `json:"podCIDRs"`
	Socket    string         `json:"socket"`
	PID       int            `json:"pid,omitempty"` // of the agent, while it runs
	Ready     bool           `json:"ready"`
	Reason    string         `json:"reason,omitempty"` // why it is not ready
}

// PodStatus is a pod with its state: Running, Exited (a container ended),
// StartError (one could not be started), NetworkError.
type PodStatus struct {
	Namespace  string       `json:"namespace"`
	Name       string       `json:"name"`
	Node       string       `json:"node"`
	Netns      string       `json:"netns"`
	IPs        []netip.Addr `json:"ips"`
	HostDevice string       `json:"hostDevice,omitempty"`
	State      string       `json:"state"`
	Reason     string       `json:"reason,omitempty"`
	PIDs       []int        `json:"pids"` // of the containers, in their order
}

// Status asks every agent and looks after every process.
func (l *Lab) Status(ctx context.Context) (Status, error) {
	r, err := readRecord(l.name)
	if err != nil {
		return Status{}, err
	}
	s := Status{Name: r.Name, Up: r.Up, Mode: r.Spec.Mode, Dir: r.dir(), Nodes: make([]NodeStatus, len(r.Nodes)), Pods: []PodStatus{}}
	for _, p := range r.Spec.addresses(0, worldHost) {
		s.World = append(s.World, p.Addr().String())
	}
	index := map[string]int{}
	for i, n := range r.Nodes {
		index[n.Name] = i
	}
	_ = each(16, r.Nodes, func(n Node) error { // nodeStatus has no error
		s.Nodes[index[n.Name]] = nodeStatus(ctx, n)
		return nil
	})
	for _, p := range r.Pods {
		s.Pods = append(s.Pods, podStatus(p))
	}
	return s, nil
}

func nodeStatus(ctx context.Context, n Node) NodeStatus {
	out := NodeStatus{Name: n.Name, Netns: n.Netns, Addresses: n.Addresses, PodCIDRs: n.PodCIDRs, Socket: n.Socket()}
	if !n.Agent.Alive() {
		out.Reason = "the agent does not run"
		return out
	}
	out.PID = n.Agent.PID
	if err := ready(ctx, n); err != nil {
		out.Reason = err.Error()
		return out
	}
	out.Ready = true
	return out
}

func podStatus(p Pod) PodStatus {
	out := PodStatus{
		Namespace: p.Namespace, Name: p.Name, Node: p.Node, Netns: p.Netns,
		IPs: p.IPs, HostDevice: p.HostDevice, State: "Running", Reason: p.Error,
	}
	if p.Error != "" {
		out.State = "NetworkError"
	}
	for _, c := range p.Containers {
		out.PIDs = append(out.PIDs, c.Process.PID)
		switch {
		case c.Error != "":
			out.State, out.Reason = "StartError", c.Error
		case !c.Process.Alive() && out.State == "Running":
			out.State, out.Reason = "Exited", "container "+c.Name+" ended; see weir lab logs"
		}
	}
	return out
}

// Healthy reports whether all agents are ready and all pods run.
func (s Status) Healthy() bool {
	for _, n := range s.Nodes {
		if !n.Ready {
			return false
		}
	}
	for _, p := range s.Pods {
		if p.State != "Running" {
			return false
		}
	}
	return s.Up
}

func (s Status) print(w io.Writer) error {
	fmt.Fprintf(w, "Lab %s: %s, %d nodes, %d pods; world %s\n\n", s.Name, s.Mode, len(s.Nodes), len(s.Pods), strings.Join(s.World, ","))
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NODE\tADDRESSES\tPOD CIDRS\tAGENT\tREADY")
	for _, n := range s.Nodes {
		pid := "-"
		if n.PID > 0 {
			pid = fmt.Sprint(n.PID)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Name, joined(n.Addresses), joined(n.PodCIDRs), pid, said(n.Ready, n.Reason))
	}
	if err := t.Flush(); err != nil || len(s.Pods) == 0 {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "POD\tIPS\tNODE\tSTATE\tREASON")
	for _, p := range s.Pods {
		fmt.Fprintf(t, "%s/%s\t%s\t%s\t%s\t%s\n", p.Namespace, p.Name, joined(p.IPs), p.Node, p.State, p.Reason)
	}
	return t.Flush()
}

func said(ok bool, reason string) string {
	if ok {
		return "yes"
	}
	return "no: " + reason
}
