package kube

import (
	"net/http"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"

	"weir/api/client"
)

// scheme knows the kinds that are watched: the custom ones as they come.
var scheme, parameters = func() (*runtime.Scheme, runtime.ParameterCodec) {
	s := runtime.NewScheme()
	utilruntime.Must(coordinationv1.AddToScheme(s))
	utilruntime.Must(corev1.AddToScheme(s))
	utilruntime.Must(discoveryv1.AddToScheme(s))
	utilruntime.Must(networkingv1.AddToScheme(s))
	for _, k := range kinds() {
		for _, v := range k.versions() {
			if k.strict {
				s.AddKnownTypeWithName(v.WithKind(k.name), &client.Raw{})
				s.AddKnownTypeWithName(v.WithKind(k.name+"List"), &client.RawList{})
				metav1.AddToGroupVersion(s, v)
			}
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s, runtime.NewParameterCodec(s)
}()

// newClient returns a client of one group, whose requests go through rt. It has
// no limit of its own: the server has, by priority and fairness.
func newClient(group schema.GroupVersion, rt http.RoundTripper) (*rest.RESTClient, error) {
	cfg := &rest.Config{Host: "http://cluster", APIPath: "/apis", QPS: -1, Transport: rt, UserAgent: "weir-agent"}
	if group.Group == "" {
		cfg.APIPath = "/api"
	}
	cfg.GroupVersion = &group
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	if group.Group != cilium.Group {
		cfg.AcceptContentTypes, cfg.ContentType = runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON, runtime.ContentTypeProtobuf
	}
	return rest.RESTClientFor(cfg)
}
