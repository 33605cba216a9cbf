package convert

import (
	"slices"
	"strconv"
	"strings"

	"weir/api/v1"
	"weir/state"
)

// maxIdentity is the widest number a VNI carries. Other clusters' identities
// lie above state.IdentityMax, with the cluster's number in the upper bits.
const maxIdentity = 1<<24 - 1

// CiliumIdentity returns the row of an identity.
func CiliumIdentity(o *v1.CiliumIdentity) (state.Identity, error) {
	object := "CiliumIdentity " + o.Name
	id, err := strconv.ParseUint(o.Name, 10, 32)
	if err != nil || id < uint64(state.IdentityMin) || id > maxIdentity || strconv.FormatUint(id, 10) != o.Name {
		return state.Identity{}, refuse(object, "metadata.name", "%q is not the number of an identity: use %d to %d", o.Name, state.IdentityMin, maxIdentity)
	}
	if len(o.SecurityLabels) == 0 {
		return state.Identity{}, refuse(object, "security-labels", "is empty: an identity is its labels")
	}
	row := state.Identity{ID: state.IdentityID(id)}
	for k, v := range o.SecurityLabels {
		if source, _, ok := strings.Cut(k, ":"); !ok || source == "" {
			return state.Identity{}, refuse(object, "security-labels", "%q has no source: write k8s:%s", k, k)
		} else if strings.ContainsAny(k, "=;") || source == "k8s" && strings.Contains(v, ";") {
			return state.Identity{}, refuse(object, "security-labels", "%q with the value %q: a label has no '=' or ';' in it", k, v)
		}
		if v == "" && strings.HasPrefix(k, "reserved:") {
			row.Labels = append(row.Labels, k)
			continue
		}
		row.Labels = append(row.Labels, k+"="+v)
	}
	slices.Sort(row.Labels)
	return row, nil
}
