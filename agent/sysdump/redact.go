package sysdump

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"

	"weir/agent/config"
	api "weir/api/agent"
)

// keys is a set of names that may leave.
type keys map[string]bool

func named(text string) keys {
	out := keys{}
	for _, k := range strings.Fields(text) {
		out[k] = true
	}
	return out
}

// only keeps of a JSON value what is under known keys, at every depth.
func (k keys) only(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			if k[key] {
				out[key] = k.only(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = k.only(e)
		}
		return out
	case string:
		return scrub(v)
	}
	return v
}

// onlyIn is only of JSON text.
func (k keys) onlyIn(text []byte) (any, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	return k.only(v), nil
}

// The keys of what bpftool prints; processes that hold programs are not here.
var (
	progKeys = named("id type name tag gpl_compatible loaded_at uid orphaned bytes_xlated jited bytes_jited bytes_memlock map_ids btf_id run_time_ns run_cnt")
	hookKeys = named("id type prog_id prog_type ifindex devname attach_type cgroup_id")
)

// tableColumns are those columns of tables that may leave.
var tableColumns = map[string]keys{
	"nodes": named("Name Addresses Router Pod_CIDRs Health Local"), "pods": named("Pod Node IPs Labels"), "namespaces": named("Name Labels"),
	"policies": named("Kind Namespace Name Rules"), "cidrGroups": named("Name CIDRs"), "services": named("Name Type Cluster_IPs Ports Selector"),
	"slices": named("Name Service Addresses"), "l2Policies": named("Name Services Nodes Interfaces Load_balancer_IPs External_IPs"), "leases": named("Name Holder"),
	"clusterIdentities": named("ID Labels"), "identities": named("ID Labels"), "podIdentities": named("Pod Identity"), "visibleLabels": named("Key"),
	"judgedIdentities": named("ID"), "endpointPolicies": named("Endpoint Class Epoch Ingress Egress"),
	"endpoints": named("ID Pod IPv4 IPv6 Device Identity State"), "ips": named("Prefix Identity Tunnel_endpoint Source"),
	"devices": named("Name Index MTU MAC Addresses"), "hostAddresses": named("Address Device"), "problems": named("Object File Problem"),
	"peers": named("Node Node_address Endpoint_address Node_ok Endpoint_ok"), "controllers": named("Name Runs Failures Last_error"),
}

// columns keeps of a table what may leave; a table that is not known has none.
func columns(t api.Table) api.Table {
	known := tableColumns[t.Name]
	out := api.Table{Name: t.Name, Heading: []string{}, Rows: [][]string{}}
	var at []int
	for i, h := range t.Heading {
		if known[strings.ReplaceAll(h, " ", "_")] {
			at, out.Heading = append(at, i), append(out.Heading, h)
		}
	}
	for _, row := range t.Rows {
		var cells []string
		for _, i := range at {
			if i < len(row) {
				cells = append(cells, scrub(row[i]))
			}
		}
		out.Rows = append(out.Rows, cells)
	}
	return out
}

// settings keeps the options that this build knows.
func settings(c api.Config) api.Config {
	known := keys{}
	for _, o := range config.Defaults().Options() {
		known[o.Key] = true
	}
	out := api.Config{File: c.File}
	for _, o := range c.Agent {
		if known[o.Key] {
			o.Value = scrub(o.Value)
			out.Agent = append(out.Agent, o)
		}
	}
	out.Datapath = c.Datapath
	return out
}

// attributes are those of log messages that may leave.
var attributes = named("time level msg err room duty endpoint kind pod object file device node version path map from to dir connections server retry_in removed limit devices " +
	"commit address took state_dir sockets skipped run_dir replaced probes_failed pods pin old_entries of objects new namespaces missing loaded lines line left labels known " +
	"kinds ipv4 ipv6 ifindex files endpoints deletes deleted container conflict bpf_root because after adopted addresses added config")

// message keeps of a message what may leave.
func message(l api.LogLine) api.LogLine {
	maps.DeleteFunc(l.Attributes, func(k, _ string) bool { return !attributes[k] })
	for k, v := range l.Attributes {
		l.Attributes[k] = scrub(v)
	}
	l.Message = scrub(l.Message)
	return l
}

// secrets are what free text may have in it although nobody meant to put it there:
// JSON web tokens, what follows a word for a secret, who logs in by a URL, keys in
// PEM.
var secrets = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]+){0,2}` +
	`|(?i:(bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}` +
	`|(?i:[a-z0-9_.-]*(password|passwd|secret|token|api[-_]?key|credential)\\?["']?\s*[=:]\s*)(\\?"[^"]*"?|\\?'[^']*'?|[^\s"',;}]+)` +
	`|(?i:--?[a-z0-9-]*(password|passwd|secret|token|api-key|credential)s?\s+)[^-\s]\S*` +
	`|://[^/\s@]+@` +
	`|(?s:-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|$))`)

// scrub takes out of free text what looks like a secret.
func scrub(text string) string { return secrets.ReplaceAllString(text, "[removed]") }
