package agent

import "time"

// Paths of the requests about identities, policy and connections. GET unless
// said otherwise.
const (
	PathIdentities    = "/v1/identities"     // -> []Identity
	PathPolicies      = "/v1/policies"       // -> []Policy
	PathPolicyExplain = "/v1/policy/explain" // POST ExplainRequest -> Explanation
	PathPolicyTrace   = "/v1/policy/trace"   // POST TraceRequest -> TraceReply
	PathPolicyReplay  = "/v1/policy/replay"  // POST ReplayRequest -> ReplayReply
	PathPolicyOf      = "/v1/policy/of"      // /ENDPOINT -> EndpointPolicy; "host" is the host
	PathConnections   = "/v1/connections"    // -> Connections
	PathDrops         = "/v1/drops"          // -> []Drop, oldest first
)

// ConnectionsStatus says how full the table of connections is.
type ConnectionsStatus struct {
	Count    int     `json:"count"`
	Capacity int     `json:"capacity"` // of the table as it is
	Limit    int     `json:"limit"`    // up to which it grows
	Pressure float64 `json:"pressure"` // Count / Limit: 0.8 is worth a warning
}

// PolicyStatus counts the objects that make policies, each once: as what
// `weir policy list` says of its state.
type PolicyStatus struct {
	Mode         string `json:"mode"` // "default", "always" or "never"
	InForce      int    `json:"inForce"`
	Refused      int    `json:"refused"`      // states "refused" and "too large"
	NotEnforced  int    `json:"notEnforced"`  // state "not enforced"
	Partly       int    `json:"partly"`       // of InForce: with rules that need what this version does not have
	HostFirewall bool   `json:"hostFirewall"` // policies with a nodeSelector count
}

// IdentitiesStatus counts identities as this node knows them.
type IdentitiesStatus struct {
	Cluster int    `json:"cluster"` // with a number of the cluster
	Local   int    `json:"local"`   // with a number of this node, until the cluster has one
	Min     uint32 `json:"min"`     // the range out of which the cluster numbers
	Max     uint32 `json:"max"`
}

// Identity is one line of `weir identity list`.
type Identity struct {
	ID        uint32   `json:"id"`
	Labels    []string `json:"labels"`
	Refs      int      `json:"refs"`      // pods that have it, as far as this node knows
	Scope     string   `json:"scope"`     // "reserved", "cluster" or "node": of this node until the cluster has a number
	Selectors []string `json:"selectors"` // of this node's policies that it meets
}

// Policy is one line of `weir policy list`.
type Policy struct {
	Kind       string         `json:"kind"`
	Namespace  string         `json:"namespace,omitempty"`
	Name       string         `json:"name"`
	State      string         `json:"state"`     // "in force", "refused", "too large", "not enforced"
	Message    string         `json:"message"`   // why, field first: "spec.ingress[0].toPorts[0].ports[0].port: ..."
	Rules      int            `json:"rules"`     // allow and deny rules of the object
	Endpoints  []uint32       `json:"endpoints"` // of this node that it selects
	Conditions []RuleProblems `json:"notEnforced,omitempty"`
}

// RuleProblems names a rule that needs what this version does not have: it
// allows nothing.
type RuleProblems struct {
	Rule    string `json:"rule"` // "spec.ingress[0]"
	Message string `json:"message"`
}

// EndpointPolicy is what `weir policy get ENDPOINT` prints.
type EndpointPolicy struct {
	Endpoint uint32        `json:"endpoint"`
	Pod      string        `json:"pod"`
	Identity uint32        `json:"identity"`
	Class    uint32        `json:"class"`
	Epoch    uint32        `json:"epoch"`
	Ingress  DirectionRule `json:"ingress"`
	Egress   DirectionRule `json:"egress"`
}

// DirectionRule is one direction of an endpoint's policy.
type DirectionRule struct {
	Enforced   bool            `json:"enforced"`
	Response   string          `json:"response"` // "drop" or "reject" for what no rule allows
	IsolatedBy []string        `json:"isolatedBy"`
	Rules      []EffectiveRule `json:"rules"`
}

// EffectiveRule is one entry of the map, with the objects it comes from.
type EffectiveRule struct {
	ID      uint32   `json:"id"`
	Action  string   `json:"action"` // "allow" or "deny"
	Peer    string   `json:"peer"`   // "k8s:app in (web)", "cidr 10.0.0.0/8", "everybody"
	Port    string   `json:"port"`   // "80/TCP", "8000-8080/TCP", "ANY/UDP", "ANY", "echo-request/ICMPv4"
	Origin  []string `json:"origin"` // "CiliumNetworkPolicy default/web spec.ingress[0]"
	Packets uint64   `json:"packets"`
	Bytes   uint64   `json:"bytes"`
}

// ExplainRequest asks what would become of a connection. From and To are
// "namespace/pod", an address, "host", "world" or "identity:NUMBER".
type ExplainRequest struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Proto string `json:"proto"` // "TCP" when empty; else as policies write it: "UDP", "ICMPv6", "GRE"
	Port  uint16 `json:"port"`  // of ICMP the type; 0 of TCP, UDP, SCTP: only rules for every port count
}

// Explanation is the verdict, direction by direction.
type Explanation struct {
	Verdict string       `json:"verdict"` // "allowed" or "denied"
	From    ExplainedEnd `json:"from"`
	To      ExplainedEnd `json:"to"`
	Proto   string       `json:"proto"`
	Port    uint16       `json:"port"`
	Egress  Judgement    `json:"egress"`
	Ingress Judgement    `json:"ingress"`
	Note    string       `json:"note,omitempty"`
}

// ExplainedEnd is one end of the connection.
type ExplainedEnd struct {
	Name     string   `json:"name"`
	IP       string   `json:"ip,omitempty"`
	Identity uint32   `json:"identity"`
	Labels   []string `json:"labels"`
	Endpoint uint32   `json:"endpoint,omitempty"` // of this node
}

// Judgement is what one end's policy says.
type Judgement struct {
	Known    bool     `json:"known"`             // false: the end is no endpoint of this node, another agent judges
	Enforced bool     `json:"enforced"`          // false: no policy selects the end in this direction
	Verdict  string   `json:"verdict"`           // "allowed", "denied", "not enforced", "unknown"
	Rule     string   `json:"rule"`              // that decided: action, peer, port; empty: a default decided
	Origin   []string `json:"origin"`            // the objects it comes from; for a default deny, those that isolate the end
	Nearest  string   `json:"nearest,omitempty"` // the allow rule that came closest
	Missed   string   `json:"missed,omitempty"`  // the field on which it failed, with both values
}

// TraceRequest asks what objects would change, before they are applied. YAML is
// the content of a file.
type TraceRequest struct {
	File string `json:"file"` // for problems
	YAML string `json:"yaml"`
}

// TraceReply lists what would change on this node.
type TraceReply struct {
	Problems []Problem     `json:"problems"`
	Changes  []TraceChange `json:"changes"`  // of the endpoints of this node
	Verdicts []TraceFlow   `json:"verdicts"` // connections of weir_ct that would get another verdict
}

// TraceChange is one endpoint's change in one direction.
type TraceChange struct {
	Endpoint  uint32   `json:"endpoint"`
	Pod       string   `json:"pod"`
	Direction string   `json:"direction"` // "ingress", "egress"
	Isolates  bool     `json:"isolates"`  // the direction becomes enforced
	Frees     bool     `json:"frees"`     // it no longer is
	Added     []string `json:"added"`     // rules
	Removed   []string `json:"removed"`
}

// TraceFlow is an open connection that would be treated otherwise.
type TraceFlow struct {
	Connection string `json:"connection"`
	Now        string `json:"now"`
	Then       string `json:"then"`
	Because    string `json:"because"`
}

// Connections is what `weir ct list` prints.
type Connections struct {
	Entries  []Connection `json:"entries"`
	Count    int          `json:"count"`
	Capacity int          `json:"capacity"`
	Limit    int          `json:"limit"`    // up to which the table grows
	Pressure float64      `json:"pressure"` // Count / Limit
	Memory   uint64       `json:"memory"`
}

// Connection is one entry of weir_ct.
type Connection struct {
	Proto    string        `json:"proto"`
	Source   string        `json:"source"` // who opened it: "10.0.0.3:34567"
	Dest     string        `json:"destination"`
	Backend  string        `json:"backend,omitempty"`  // of a service, in whose place it stands
	SourceAs string        `json:"sourceAs,omitempty"` // what the other end sees in the place of Source
	State    string        `json:"state"`              // "new", "established", "closing"
	Idle     time.Duration `json:"idle"`
	Expires  time.Duration `json:"expires"`
	Sent     Counter       `json:"sent"` // by who opened it
	Answered Counter       `json:"answered"`
	Egress   uint32        `json:"egressRule,omitempty"` // that allowed it
	Ingress  uint32        `json:"ingressRule,omitempty"`
	Out      [2]string     `json:"out"`   // "endpoint 3", "tunnel 172.18.0.3", "fib", "host", "unknown"
	Stale    bool          `json:"stale"` // will be judged anew
}

// Counter counts packets and bytes.
type Counter struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Drop is one packet that was not let through.
type Drop struct {
	Seq        uint64    `json:"seq"` // counts up from 1 while the agent runs; what is missing in between was lost
	Time       time.Time `json:"time"`
	Place      string    `json:"place"`
	Reason     string    `json:"reason"`
	Cause      string    `json:"cause,omitempty"` // what the reason alone does not say: "a prohibit route", "1400 octets fit"
	Direction  string    `json:"direction"`       // of the policy: "ingress" or "egress"
	Proto      string    `json:"proto"`
	Source     string    `json:"source"`
	Dest       string    `json:"destination"`
	SourceID   uint32    `json:"sourceIdentity"`
	SourceName string    `json:"sourceName"`
	DestID     uint32    `json:"destinationIdentity"`
	DestName   string    `json:"destinationName"`
	Asked      string    `json:"asked,omitempty"` // the service whose backend is the destination
	TCPFlags   string    `json:"tcpFlags,omitempty"`
	Device     string    `json:"device"`
	Length     uint32    `json:"length"`
	Policies   []string  `json:"policies"` // that decided: the deny rule's, or those that isolate the end
	Nearest    string    `json:"nearest,omitempty"`
	Missed     string    `json:"missed,omitempty"`
}
