// Package client reads and writes the custom resources of api/v1 at an API
// server. It keeps nothing and retries nothing: who writes an object says what
// version of it he has read, and the server refuses what another has changed.
package client

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	v1 "weir/api/v1"
)

// Client is a connection to the group cilium.io.
type Client struct {
	rest   rest.Interface
	alpha  rest.Interface // of kinds that have no later version than v2alpha1
	params runtime.ParameterCodec

	raw, rawAlpha rest.Interface
}

// The kinds' own clients.
type (
	Policies    = gentype.ClientWithList[*v1.CiliumNetworkPolicy, *v1.CiliumNetworkPolicyList]
	Clusterwide = gentype.ClientWithList[*v1.CiliumClusterwideNetworkPolicy, *v1.CiliumClusterwideNetworkPolicyList]
	CIDRGroups  = gentype.ClientWithList[*v1.CiliumCIDRGroup, *v1.CiliumCIDRGroupList]
	Endpoints   = gentype.ClientWithList[*v1.CiliumEndpoint, *v1.CiliumEndpointList]
	Identities  = gentype.ClientWithList[*v1.CiliumIdentity, *v1.CiliumIdentityList]
	Nodes       = gentype.ClientWithList[*v1.CiliumNode, *v1.CiliumNodeList]
	L2Policies  = gentype.ClientWithList[*v1.CiliumL2AnnouncementPolicy, *v1.CiliumL2AnnouncementPolicyList]
)

// New returns a client of the API server that cfg describes.
func New(cfg *rest.Config) (*Client, error) {
	typed := runtime.NewScheme()
	if err := v1.AddToScheme(typed); err != nil {
		return nil, err
	}
	raw := rawScheme(typed)
	out := &Client{params: runtime.NewParameterCodec(typed)}
	for _, to := range []struct {
		into   *rest.Interface
		scheme *runtime.Scheme
		group  schema.GroupVersion
	}{
		{&out.rest, typed, v1.GroupVersion()}, {&out.alpha, typed, v1.GroupVersionAlpha()},
		{&out.raw, raw, v1.GroupVersion()}, {&out.rawAlpha, raw, v1.GroupVersionAlpha()},
	} {
		metav1.AddToGroupVersion(to.scheme, schema.GroupVersion{Version: "v1"}) // Status, which errors are told in
		c := rest.CopyConfig(cfg)
		c.APIPath, c.GroupVersion = "/apis", &to.group
		c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON // custom resources have no other
		c.NegotiatedSerializer = serializer.NewCodecFactory(to.scheme).WithoutConversion()
		r, err := rest.RESTClientFor(c)
		if err != nil {
			return nil, fmt.Errorf("connect to the API server: %w", err)
		}
		*to.into = r
	}
	return out, nil
}

// rawScheme knows the kinds of another as they come.
func rawScheme(typed *runtime.Scheme) *runtime.Scheme {
	out := runtime.NewScheme()
	for _, gv := range []schema.GroupVersion{v1.GroupVersion(), v1.GroupVersionAlpha()} {
		for kind := range typed.KnownTypes(gv) {
			switch {
			case !strings.HasPrefix(kind, "Cilium"): // what each group has for requests
			case strings.HasSuffix(kind, "List"):
				out.AddKnownTypeWithName(gv.WithKind(kind), &RawList{})
			default:
				out.AddKnownTypeWithName(gv.WithKind(kind), &Raw{})
			}
		}
		metav1.AddToGroupVersion(out, gv)
	}
	older := v1.GroupVersionAlpha() // of definitions from before the kind's version v2
	out.AddKnownTypeWithName(older.WithKind(v1.KindCiliumCIDRGroup), &Raw{})
	out.AddKnownTypeWithName(older.WithKind(v1.KindCiliumCIDRGroup+"List"), &RawList{})
	return out
}

// REST returns the connection itself.
func (c *Client) REST() rest.Interface { return c.rest }

// RawREST returns the connection that tells of objects as they come, of type Raw, for
// watches and lists: one that does not decode then spoils nobody else's.
func (c *Client) RawREST() rest.Interface { return c.raw }

// RawAlphaREST is RawREST of kinds under their version v2alpha1.
func (c *Client) RawAlphaREST() rest.Interface { return c.rawAlpha }

// Policies returns the client of CiliumNetworkPolicies; "" means all namespaces.
func (c *Client) Policies(namespace string) *Policies {
	return gentype.NewClientWithList(v1.ResourceNetworkPolicies, c.rest, c.params, namespace,
		func() *v1.CiliumNetworkPolicy { return &v1.CiliumNetworkPolicy{} },
		func() *v1.CiliumNetworkPolicyList { return &v1.CiliumNetworkPolicyList{} })
}

// Clusterwide returns the client of CiliumClusterwideNetworkPolicies.
func (c *Client) Clusterwide() *Clusterwide {
	return gentype.NewClientWithList(v1.ResourceClusterwideNetworkPolicies, c.rest, c.params, "",
		func() *v1.CiliumClusterwideNetworkPolicy { return &v1.CiliumClusterwideNetworkPolicy{} },
		func() *v1.CiliumClusterwideNetworkPolicyList { return &v1.CiliumClusterwideNetworkPolicyList{} })
}

// CIDRGroups returns the client of CiliumCIDRGroups.
func (c *Client) CIDRGroups() *CIDRGroups {
	return gentype.NewClientWithList(v1.ResourceCIDRGroups, c.rest, c.params, "",
		func() *v1.CiliumCIDRGroup { return &v1.CiliumCIDRGroup{} },
		func() *v1.CiliumCIDRGroupList { return &v1.CiliumCIDRGroupList{} })
}

// Endpoints returns the client of CiliumEndpoints; "" means all namespaces.
func (c *Client) Endpoints(namespace string) *Endpoints {
	return gentype.NewClientWithList(v1.ResourceEndpoints, c.rest, c.params, namespace,
		func() *v1.CiliumEndpoint { return &v1.CiliumEndpoint{} },
		func() *v1.CiliumEndpointList { return &v1.CiliumEndpointList{} })
}

// Identities returns the client of CiliumIdentities.
func (c *Client) Identities() *Identities {
	return gentype.NewClientWithList(v1.ResourceIdentities, c.rest, c.params, "",
		func() *v1.CiliumIdentity { return &v1.CiliumIdentity{} },
		func() *v1.CiliumIdentityList { return &v1.CiliumIdentityList{} })
}

// Nodes returns the client of CiliumNodes.
func (c *Client) Nodes() *Nodes {
	return gentype.NewClientWithList(v1.ResourceNodes, c.rest, c.params, "",
		func() *v1.CiliumNode { return &v1.CiliumNode{} },
		func() *v1.CiliumNodeList { return &v1.CiliumNodeList{} })
}

// L2Policies returns the client of CiliumL2AnnouncementPolicies.
func (c *Client) L2Policies() *L2Policies {
	return gentype.NewClientWithList(v1.ResourceL2Policies, c.alpha, c.params, "",
		func() *v1.CiliumL2AnnouncementPolicy { return &v1.CiliumL2AnnouncementPolicy{} },
		func() *v1.CiliumL2AnnouncementPolicyList { return &v1.CiliumL2AnnouncementPolicyList{} })
}
