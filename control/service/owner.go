package service

import (
	"cmp"

	"weir/state"
)

// Owner is whose frontends they are: a service's, or those of a pod that has
// HostPorts.
type Owner struct {
	Namespace, Name string
	Pod             bool
}

func (o Owner) String() string {
	if o.Pod {
		return "pod " + o.Namespace + "/" + o.Name
	}
	return o.Namespace + "/" + o.Name
}

func ofService(n state.ServiceName) Owner { return Owner{n.Namespace, n.Name, false} }

func ofPod(n state.PodName) Owner { return Owner{n.Namespace, n.Name, true} }

// compare sorts services before pods, so that of what comes at once the one that
// everybody in the cluster relies on is served first.
func (o Owner) compare(p Owner) int {
	if o.Pod != p.Pod {
		if p.Pod {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(o.Namespace, p.Namespace), cmp.Compare(o.Name, p.Name))
}

// wish derives what is to be in force of an owner.
func (c *Control) wish(of Owner) (w wish) {
	if of.Pod {
		if w.pod = c.hosted[state.PodName{Namespace: of.Namespace, Name: of.Name}]; w.pod != nil {
			w.plans, w.notes = compileHosted(w.pod, &c.view)
		}
		return w
	}
	name := state.ServiceName{Namespace: of.Namespace, Name: of.Name}
	if w.row = c.rows[name]; w.row != nil {
		w.plans, w.notes = compile(w.row, c.m.slicesOf(name), &c.view)
	}
	return w
}
