// Package v1 holds the Go types of the custom resources that Weir reads: their
// group, names and fields are those that existing clusters, manifests and
// dashboards use (group cilium.io, version v2), the definitions are Weir's own.
//
// Types declare every field that such objects are known to have, so that a
// strict decoder accepts them; what Weir does not read is kept as it is. The
// package validates nothing: what one field can be is said in its markers, of
// which `make generate` makes the definitions in deploy/crds, and source/convert
// judges the rest.
//
// +kubebuilder:object:generate=true
// +groupName=cilium.io
// +versionName=v2
package v1

// Group and Version of all kinds, and both as an object's apiVersion says them.
const (
	Group      = "cilium.io"
	Version    = "v2"
	APIVersion = Group + "/" + Version

	// VersionAlpha is the version of L2 announcement policies, under which CIDR
	// groups are served as well.
	VersionAlpha = "v2alpha1"
)
