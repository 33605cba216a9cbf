package bpftest

import (
	"testing"

	"weir/bpf"
)

// besideKubeProxy is the configuration of a node whose services are kube-proxy's.
func besideKubeProxy(c bpf.Config) bpf.Config {
	c.HostRouting, c.Services = 0, 0
	return c
}

// What the stack forwards for a pod, kube-proxy may have translated: the answers go
// where they are translated back, also after the connection was judged anew.
func TestWhatTheStackForwardsForAPodIsAnsweredToTheStack(t *testing.T) {
	for name, cfg := range map[string]bpf.Config{"tunnel": config(), "native": native()} {
		n := filled(t, besideKubeProxy(cfg))
		perFamily(t, n, func(t *testing.T, f family) {
			for _, tcp := range []bool{false, true} {
				n.forget(t)
				p := f.from(f.peer)
				p.tcp, p.flags = tcp, "S"
				r := p.reply()
				r.flags = "SA"
				n.want(t, name+": the stack forwards", bpf.ProgFromHost, p, bpf.ReasonToEndpoint)
				n.want(t, name+": the answer", bpf.ProgFromPod, r, bpf.ReasonToStack)
				if _, e := n.entry(t); e.Way != [2]uint8{uint8(bpf.OutEndpoint), uint8(bpf.OutStack)} || e.Out != [2]uint16{peerID, podID} || e.Packets != [2]uint32{1, 1} {
					t.Errorf("the entry is %s", e)
				}
				n.open(t, podID) // another policy, which allows it, too
				n.want(t, name+": the answer, judged anew", bpf.ProgFromPod, r, bpf.ReasonToStack)
				p.flags, r.flags = "A", "A"
				n.want(t, name+": the stack forwards on", bpf.ProgFromHost, p, bpf.ReasonToEndpoint)
				n.want(t, name+": the next answer", bpf.ProgFromPod, r, bpf.ReasonToStack)
				n.isolate(t, podID, bpf.PolicyEgress)
				n.want(t, name+": the answer to what is denied", bpf.ProgFromPod, r, bpf.DropPolicy)
				n.open(t, podID)
			}
		})
	}
}

// What pods of a node say to each other needs no stack.
func TestPodsOfANodeTalkPastKubeProxy(t *testing.T) {
	n := filled(t, besideKubeProxy(config()))
	perFamily(t, n, func(t *testing.T, f family) {
		p := f.from(f.peer)
		n.want(t, "a pod to another", bpf.ProgFromPod, p, bpf.ReasonToEndpoint)
		n.want(t, "the answer", bpf.ProgFromPod, p.reply(), bpf.ReasonToEndpoint)
	})
}

// What arrives for a pod may be an answer that the stack is to translate, and what
// the stack's table of connections has seen one direction of it has to see both of.
// A sender that cannot be there is refused before that.
func TestUnderlaysPacketsForPodsGoToTheStackBesideKubeProxy(t *testing.T) {
	for name, cfg := range map[string]bpf.Config{"tunnel": config(), "native": native()} {
		n := filled(t, besideKubeProxy(cfg))
		perFamily(t, n, func(t *testing.T, f family) {
			n.isolate(t, podID, bpf.PolicyIngress)
			world := f.into(f.pod)
			world.src = f.world
			n.want(t, name+": from outside", bpf.ProgFromNetdev, world, bpf.ReasonToStack)
			n.noEntries(t, "a packet that the stack is to see first")
			n.want(t, name+": from the stack, and the policy is asked", bpf.ProgFromHost, world, bpf.DropPolicy)
			self := f.into(f.pod)
			self.src = f.peer
			n.want(t, name+": as a pod of this node", bpf.ProgFromNetdev, self, bpf.DropInvalidSourceIP)
			self.src = f.self
			n.want(t, name+": as this node", bpf.ProgFromNetdev, self, bpf.DropInvalidSourceIP)
			remote := f.into(f.pod)
			remote.src = f.remote
			want := bpf.ReasonToStack
			if name == "tunnel" {
				want = bpf.DropInvalidSourceIP // it has to come through the tunnel
			}
			n.want(t, name+": as a pod of another node", bpf.ProgFromNetdev, remote, want)
		})
	}
}
