package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion returns the group and version of all kinds but one.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// GroupVersionAlpha returns those of L2 announcement policies.
func GroupVersionAlpha() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: VersionAlpha}
}

// AddToScheme makes a scheme know all kinds.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(),
		&CiliumNetworkPolicy{}, &CiliumNetworkPolicyList{},
		&CiliumClusterwideNetworkPolicy{}, &CiliumClusterwideNetworkPolicyList{},
		&CiliumCIDRGroup{}, &CiliumCIDRGroupList{},
		&CiliumEndpoint{}, &CiliumEndpointList{},
		&CiliumIdentity{}, &CiliumIdentityList{},
		&CiliumNode{}, &CiliumNodeList{},
	)
	s.AddKnownTypes(GroupVersionAlpha(), &CiliumL2AnnouncementPolicy{}, &CiliumL2AnnouncementPolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	metav1.AddToGroupVersion(s, GroupVersionAlpha())
	return nil
}

// The names of the kinds in paths of the API.
const (
	ResourceNetworkPolicies            = "ciliumnetworkpolicies"
	ResourceClusterwideNetworkPolicies = "ciliumclusterwidenetworkpolicies"
	ResourceCIDRGroups                 = "ciliumcidrgroups"
	ResourceEndpoints                  = "ciliumendpoints"
	ResourceIdentities                 = "ciliumidentities"
	ResourceNodes                      = "ciliumnodes"
	ResourceL2Policies                 = "ciliuml2announcementpolicies"
)
