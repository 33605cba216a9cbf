package state

import (
	"iter"
	"slices"
	"strconv"
	"strings"
)

// IdentityID is the number that stands for a set of labels on the wire (the
// VNI) and in the maps: 24 bits.
type IdentityID uint32

// The reserved identities, and the range out of which the cluster allocates.
const (
	IdentityUnknown    IdentityID = 0
	IdentityHost       IdentityID = 1
	IdentityWorld      IdentityID = 2
	IdentityUnmanaged  IdentityID = 3
	IdentityHealth     IdentityID = 4
	IdentityInit       IdentityID = 5 // a pod whose labels are not known yet
	IdentityRemoteNode IdentityID = 6
	IdentityMin        IdentityID = 256
	IdentityMax        IdentityID = 65535
)

var reserved = map[IdentityID]string{
	IdentityUnknown:    "reserved:unknown",
	IdentityHost:       "reserved:host",
	IdentityWorld:      "reserved:world",
	IdentityUnmanaged:  "reserved:unmanaged",
	IdentityHealth:     "reserved:health",
	IdentityInit:       "reserved:init",
	IdentityRemoteNode: "reserved:remote-node",
}

// Reserved returns the label of a reserved identity, or "".
func (id IdentityID) Reserved() string { return reserved[id] }

func (id IdentityID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Labels is a sorted list of source:key=value.
type Labels []string

// Key is the same for equal label sets, whatever their order was.
func (l Labels) Key() string { return strings.Join(l, ";") }

// PodLabels returns the labels that make the identity of a pod: its own, its
// namespace, its service account, and the cluster it lives in.
func PodLabels(p Pod, cluster string) Labels {
	out := Labels{
		"k8s:io.cilium.k8s.policy.cluster=" + cluster,
		"k8s:io.kubernetes.pod.namespace=" + p.Name.Namespace,
	}
	if p.ServiceAccount != "" {
		out = append(out, "k8s:io.cilium.k8s.policy.serviceaccount="+p.ServiceAccount)
	}
	for k, v := range p.Labels {
		out = append(out, "k8s:"+k+"="+v)
	}
	slices.Sort(out)
	return out
}

// Identity is a set of labels that got a number.
type Identity struct {
	ID     IdentityID
	Labels Labels
}

// Same reports whether two rows say the same.
func (i Identity) Same(o Identity) bool { return i.ID == o.ID && slices.Equal(i.Labels, o.Labels) }

// IdentityIndex finds an identity's number by the key of its labels. Of two
// identities with the same labels the lower number wins, on every node.
func IdentityIndex(identities iter.Seq2[IdentityID, Identity]) map[string]IdentityID {
	out := map[string]IdentityID{}
	for id, i := range identities {
		k := i.Labels.Key()
		if old, ok := out[k]; !ok || id < old {
			out[k] = id
		}
	}
	return out
}

// Columns implements table.Row.
func (i Identity) Columns() []string { return []string{i.ID.String(), strings.Join(i.Labels, ",")} }
