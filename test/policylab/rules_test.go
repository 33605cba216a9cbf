package policylab

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"text/template"
)

// ruleCase is a policy, and what it does on the wire. In both, {{ip "a" 4}} is
// an address with its length, "a/32".
type ruleCase struct{ name, policy, flows string }

const (
	netpol = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
	cnp    = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n"
	ccnp   = "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\n"
	server = "metadata: {name: rule}\nspec:\n  podSelector: {matchLabels: {role: server}}\n"
	cilium = "metadata: {name: rule}\nspec:\n  endpointSelector: {matchLabels: {role: server}}\n"
	client = "metadata: {name: rule}\nspec:\n  endpointSelector: {matchLabels: {app: a}}\n"
)

var ingressCases = []ruleCase{
	{"pods by label and port", netpol + server + "  ingress: [{from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 80}]}]\n", `
		a>b tcp/80 arrives
		a>c tcp/80 arrives
		x>b tcp/80 never
		x>c tcp/80 never
		o>b tcp/80 never
		a>b tcp/81 never
		a>c udp/80 never
		a>c icmp never
		n1>b tcp/80 arrives
		n2>b tcp/80 never
		world>c tcp/80 never
		a>x tcp/80 arrives`},
	{"pods by namespace", netpol + server + "  ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}]\n", `
		o>b udp/53 arrives
		o>c icmp arrives
		a>b udp/53 never
		x>c tcp/53 never`},
	{"pods by label in a namespace", netpol + server + "  ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}, podSelector: {matchLabels: {app: x}}}]}]\n", `
		o>b tcp/80 never
		x>b tcp/80 never`},
	{"blocks of addresses with exceptions match pods and nodes", netpol + server + `  ingress:
  - from: [{ipBlock: {cidr: 0.0.0.0/0, except: ['{{ip "a" 4}}', '{{ip "n1" 4}}']}}, {ipBlock: {cidr: '::/0', except: ['{{ip "a" 6}}', '{{ip "n1" 6}}']}}]
`, `
		a>b tcp/80 never
		a>c tcp/80 never
		x>b tcp/80 arrives
		o>b icmp arrives
		n2>b tcp/80 arrives
		n1>c tcp/80 never
		world>b udp/80 arrives`},
	{"ranges of ports", netpol + server + "  ingress: [{ports: [{port: 8000, endPort: 8080}]}]\n", `
		x>b tcp/7999 never
		x>b tcp/8000 arrives
		world>c tcp/8079 arrives
		o>c tcp/8080 arrives
		o>c tcp/8081 never
		x>b udp/8000 never`},
	{"named ports that are others in each pod", netpol + server + "  ingress: [{ports: [{port: http}]}]\n", `
		a>b tcp/80 arrives
		a>b tcp/8080 never
		a>c tcp/8080 arrives
		a>c tcp/80 never`},
	{"SCTP", netpol + server + "  ingress: [{ports: [{port: 80, protocol: SCTP}]}]\n", `
		a>b sctp/80 arrives
		a>c sctp/80 arrives
		a>c sctp/81 never
		a>b tcp/80 never`},
	{"denials win", cnp + cilium + "  ingress: [{fromEntities: [all]}]\n  ingressDeny: [{fromEndpoints: [{matchLabels: {app: x}}]}, {fromEntities: [world], toPorts: [{ports: [{port: '22', protocol: TCP}]}]}, {fromEntities: [host]}]\n", `
		a>b tcp/80 arrives
		x>b tcp/80 never
		x>c icmp never
		world>c tcp/22 never
		world>b tcp/23 arrives
		a>b tcp/22 arrives
		n1>b tcp/80 never`},
	{"a denial alone that isolates nobody", cnp + cilium + "  enableDefaultDeny: {ingress: false}\n  ingressDeny: [{fromEndpoints: [{matchLabels: {app: x}}]}]\n", `
		x>c tcp/80 never
		a>c tcp/80 arrives
		world>b tcp/80 arrives`},
	{"the world as an entity", cnp + cilium + "  ingress: [{fromEntities: [world]}]\n", `
		world>b tcp/80 arrives
		world>c icmp arrives
		a>b tcp/80 never
		n2>b tcp/80 never`},
	{"other nodes as an entity", cnp + cilium + "  ingress: [{fromEntities: [remote-node]}]\n", `
		n2>b tcp/80 arrives
		n1>c udp/80 arrives
		a>c tcp/80 never
		world>b tcp/80 never`},
	{"the cluster as an entity", ccnp + cilium + "  ingress: [{fromEntities: [cluster]}]\n", `
		a>b tcp/80 arrives
		o>b tcp/80 arrives
		n2>b tcp/80 arrives
		world>b tcp/80 never`},
	{"CIDRs of the world, which no pod is in", cnp + cilium + "  ingress: [{fromCIDRSet: [{cidr: 0.0.0.0/0, except: [198.51.100.0/28]}, {cidr: '::/0', except: ['2001:db8::/64']}]}, {toPorts: [{ports: [{port: '443', protocol: TCP}]}], fromCIDR: [198.51.100.1/32, '2001:db8::1/128']}]\n", `
		world>b tcp/80 never
		world>b tcp/443 arrives
		world>c tcp/443 arrives
		a>b tcp/443 never
		n2>b tcp/443 never`},
	{"types of ICMP", cnp + cilium + "  ingress: [{icmps: [{fields: [{type: EchoRequest}, {type: EchoRequest, family: IPv6}]}]}]\n", `
		a>b icmp arrives
		world>c icmp arrives
		a>b udp/80 never`},
	{"what needs layer 7 allows nothing", cnp + cilium + "  ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{path: /}]}}, {ports: [{port: '81', protocol: TCP}]}]}]\n", `
		a>b tcp/80 never
		a>b tcp/81 arrives`},
	{"empty lists select nothing", cnp + cilium + "  ingress: [{fromEndpoints: []}]\n", `
		a>b tcp/80 never
		x>c icmp never`},
}

var egressCases = []ruleCase{
	{"to pods by label and port", cnp + client + "  egress: [{toEndpoints: [{matchLabels: {name: c}}], toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]\n", `
		a>c tcp/80 arrives
		a>c tcp/81 never
		a>b tcp/80 never
		a>world tcp/80 never
		a>n1 tcp/80 never
		o>b tcp/80 arrives
		x>b tcp/80 arrives`},
	{"to the peer's named port", cnp + client + "  egress: [{toEndpoints: [{matchLabels: {role: server}}], toPorts: [{ports: [{port: http}]}]}]\n", `
		a>b tcp/80 arrives
		a>c tcp/8080 arrives
		a>b tcp/8080 never
		a>c tcp/80 never`},
	{"to the world", cnp + client + "  egress: [{toEntities: [world], toPorts: [{ports: [{port: '53', protocol: UDP}]}]}]\n", `
		a>world udp/53 arrives
		a>world udp/54 never
		a>c udp/53 never
		a>n2 udp/53 never`},
	{"to CIDRs", cnp + client + "  egress: [{toCIDR: [198.51.100.0/24, '2001:db8::/32']}]\n", `
		a>world icmp arrives
		a>b icmp never`},
	{"to host and other nodes", cnp + client + "  egress: [{toEntities: [host]}, {toEntities: [remote-node], toPorts: [{ports: [{port: '9', protocol: UDP}]}]}]\n", `
		a>n1 udp/9 arrives
		a>n1 udp/10 arrives
		a>n2 udp/9 arrives
		a>n2 udp/10 never
		a>world udp/9 never`},
	{"a Kubernetes egress policy leaves the own node", netpol + "metadata: {name: rule}\nspec: {podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}\n", `
		a>n1 udp/9 arrives
		a>n2 udp/9 never
		a>b udp/9 never`},
	{"denied to one, allowed to others", cnp + client + "  egress: [{toEntities: [all]}]\n  egressDeny: [{toEndpoints: [{matchLabels: {name: b}}]}, {toCIDR: [198.51.100.1/32, '2001:db8::1/128']}]\n", `
		a>b tcp/80 never
		a>c tcp/80 arrives
		a>world tcp/80 never
		a>n2 udp/80 arrives`},
	{"both ends have to allow", cnp + client + "  egress: [{toEndpoints: [{}]}]\n---\n" + cnp + strings.Replace(cilium, "name: rule", "name: rule2", 1) + "  ingress: [{toPorts: [{ports: [{port: '80', protocol: TCP}]}]}]\n", `
		a>b tcp/80 arrives
		a>c tcp/80 arrives
		a>b tcp/81 never
		a>world tcp/80 never`},
}

// fill puts the lab's addresses into a text.
func (c *cluster) fill(t *testing.T, text string) string {
	t.Helper()
	ip := func(ref string, family int) string {
		a := c.addr(t, ref, family == 4)
		return fmt.Sprintf("%s/%d", a, a.BitLen())
	}
	var out bytes.Buffer
	if err := template.Must(template.New("").Funcs(template.FuncMap{"ip": ip}).Parse(text)).Execute(&out, nil); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestRulesDoOnTheWireWhatTheySay(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		for _, r := range append(append([]ruleCase(nil), ingressCases...), egressCases...) {
			t.Run(r.name, func(t *testing.T) {
				c.apply(t, c.fill(t, r.policy))
				c.judge(t, r.flows)
			})
		}
	})
}

func TestWithoutAPolicyEverythingArrives(t *testing.T) {
	inBoth(t, []*kind{vxlan, native}, func(t *testing.T, c *cluster) {
		c.judge(t, `
			a>b tcp/80 arrives
			a>c udp/80 arrives
			o>b sctp/80 arrives
			world>b icmp arrives
			a>world udp/80 arrives
			n1>b tcp/80 arrives
			n2>b tcp/80 arrives
			a>n1 tcp/80 arrives
			a>n2 tcp/80 arrives`)
	})
}
