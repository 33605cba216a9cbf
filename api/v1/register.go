package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion returns the group and version of all kinds.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

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
	metav1.AddToGroupVersion(s, GroupVersion())
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
)
