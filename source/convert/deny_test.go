package convert

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "weir/api/v1"
)

// An empty list of ports selects none: a deny rule with one would deny nothing.
func TestADenyRuleWithoutAnyPortIsRefused(t *testing.T) {
	for _, tt := range []struct {
		ports []v1.PortRule
		icmps []v1.ICMPRule
		says  string
	}{
		{ports: []v1.PortRule{}, says: "toPorts: is empty, so nothing would be denied: list ports, or leave toPorts out to deny every port"},
		{ports: []v1.PortRule{{}, {Ports: []v1.PortProtocol{}}}, says: "toPorts[1].ports: is empty, so nothing would be denied: list ports, or leave ports out to deny every port"},
		{icmps: []v1.ICMPRule{}, says: "icmps: is empty, so nothing would be denied: list types, or leave icmps out to deny everything"},
		{icmps: []v1.ICMPRule{{Fields: []v1.ICMPField{}}}, says: "icmps[0].fields: is empty, so nothing would be denied: list types"},
	} {
		for _, deny := range []string{"ingressDeny", "egressDeny", "ingress", "egress"} {
			r := v1.Rule{EndpointSelector: &metav1.LabelSelector{}}
			switch deny {
			case "ingressDeny":
				r.IngressDeny = []v1.IngressRule{{ToPorts: tt.ports, ICMPs: tt.icmps}}
			case "egressDeny":
				r.EgressDeny = []v1.EgressRule{{ToPorts: tt.ports, ICMPs: tt.icmps}}
			case "ingress":
				r.Ingress = []v1.IngressRule{{ToPorts: tt.ports, ICMPs: tt.icmps}}
			default:
				r.Egress = []v1.EgressRule{{ToPorts: tt.ports, ICMPs: tt.icmps}}
			}
			_, err := CiliumNetworkPolicy(&v1.CiliumNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: &r}, Scope{})
			if want := "spec." + deny + "[0]." + tt.says; strings.HasSuffix(deny, "Deny") && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %s", err, want)
			} else if !strings.HasSuffix(deny, "Deny") && err != nil { // allows nothing, which is what the API says
				t.Errorf("%s: %v", deny, err)
			}
		}
	}
}
