package state

import (
	"iter"
	"maps"
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
	IdentityKubeAPI    IdentityID = 7
	IdentityIngress    IdentityID = 8
	IdentityWorldIPv4  IdentityID = 9 // where both families are on
	IdentityWorldIPv6  IdentityID = 10
	IdentityMin        IdentityID = 256
	IdentityMax        IdentityID = 65535
	// From here on numbers are one node's own: for labels that have no number of
	// the cluster yet. They are never on a wire.
	IdentityLocal    IdentityID = 1 << 24
	IdentityLocalMax IdentityID = IdentityLocal + 1<<24 - 1
)

var reserved = map[IdentityID]string{
	IdentityUnknown:    "reserved:unknown",
	IdentityHost:       "reserved:host",
	IdentityWorld:      "reserved:world",
	IdentityUnmanaged:  "reserved:unmanaged",
	IdentityHealth:     "reserved:health",
	IdentityInit:       "reserved:init",
	IdentityRemoteNode: "reserved:remote-node",
	IdentityKubeAPI:    "reserved:kube-apiserver",
	IdentityIngress:    "reserved:ingress",
	IdentityWorldIPv4:  "reserved:world-ipv4",
	IdentityWorldIPv6:  "reserved:world-ipv6",
}

// Reserved returns the label of a reserved identity, or "".
func (id IdentityID) Reserved() string { return reserved[id] }

func (id IdentityID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Labels is a sorted list of source:key=value.
type Labels []string

// Key is the same for equal label sets, whatever their order was.
func (l Labels) Key() string { return strings.Join(l, ";") }

// PodLabels returns all labels of a pod, for people: its own, its namespace, its
// service account, and the cluster it lives in. See IdentityLabels for those
// that policies know it by.
func PodLabels(p Pod, cluster string) Labels {
	out := Labels{LabelCluster + "=" + cluster, LabelNamespace + "=" + p.Name.Namespace}
	if p.ServiceAccount != "" {
		out = append(out, LabelServiceAccount+"="+p.ServiceAccount)
	}
	for k, v := range p.Labels {
		if !imitates(k) {
			out = append(out, "k8s:"+k+"="+v)
		}
	}
	slices.Sort(out)
	return out
}

// Identity is a set of labels that got a number.
type Identity struct {
	ID     IdentityID
	Labels Labels
	Pods   int // that have it, as far as this node knows; 0 in ClusterIdentities
}

// PodIdentity is the number of a pod's labels.
type PodIdentity struct {
	Pod PodName
	ID  IdentityID
}

// Columns implements table.Row.
func (p PodIdentity) Columns() []string { return []string{p.Pod.String(), p.ID.String()} }

// JudgedIdentity is a number that the maps of policy know: whoever has it meets
// the selectors that these labels meet. One without a row here meets none, so that
// no rule by labels denies it: no address may have it yet.
type JudgedIdentity struct {
	ID     IdentityID
	Labels Labels
}

// Columns implements table.Row.
func (j JudgedIdentity) Columns() []string { return []string{j.ID.String()} }

// AllReserved returns the reserved identities with their labels, by number.
func AllReserved() []Identity {
	var out []Identity
	for _, id := range slices.Sorted(maps.Keys(reserved)) {
		labels := Labels{reserved[id]}
		switch id {
		case IdentityKubeAPI:
			labels = append(labels, reserved[IdentityRemoteNode])
		case IdentityWorldIPv4, IdentityWorldIPv6:
			labels = append(Labels{reserved[IdentityWorld]}, labels...)
		}
		out = append(out, Identity{ID: id, Labels: labels})
	}
	return out
}

// Same reports whether two rows say the same.
func (i Identity) Same(o Identity) bool {
	return i.ID == o.ID && i.Pods == o.Pods && slices.Equal(i.Labels, o.Labels)
}

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
