package sysdump

import (
	"context"
	"errors"
	"fmt"

	api "weir/api/agent"
)

const (
	mostRows      = 20000 // of a map or of connections
	mostEndpoints = 500   // whose rules are listed
)

// item is one file of the archive: JSON of a value, or bytes as they are.
type item struct {
	name string
	get  func(context.Context) (any, error)
}

// read decodes an answer of the agent into a type of ours, which is what keeps
// everything else here.
func read[T any](c *api.Client, path string, tidy func(T) T) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		var v T
		if err := c.Get(ctx, path, &v); err != nil {
			return nil, err
		}
		if tidy != nil {
			v = tidy(v)
		}
		return scrubbed(v)
	}
}

// fromAgent are the files that the agent's answers make.
func fromAgent(c *api.Client) []item {
	rows := fmt.Sprintf("?limit=%d", mostRows)
	return []item{
		{"agent/status.json", read[api.Status](c, api.PathStatus, nil)},
		{"agent/config.json", read(c, api.PathConfig, settings)},
		{"agent/log.json", read(c, api.PathLog, messages)},
		{"agent/endpoints.json", read[[]api.Endpoint](c, api.PathEndpoints, nil)},
		{"agent/nodes.json", read[[]api.Node](c, api.PathNodes, nil)},
		{"agent/ips.json", read[[]api.IP](c, api.PathIPs, nil)},
		{"agent/identities.json", read[[]api.Identity](c, api.PathIdentities, nil)},
		{"agent/policies.json", read[[]api.Policy](c, api.PathPolicies, nil)},
		{"agent/endpoint-policies.json", func(ctx context.Context) (any, error) { return endpointPolicies(ctx, c) }},
		{"agent/services.json", read[api.Services](c, api.PathServices, nil)},
		{"agent/backends.json", read[[]api.Backend](c, api.PathBackends, nil)},
		{"agent/affinities.json", read[[]api.Affinity](c, api.PathAffinities, nil)},
		{"agent/l2.json", read[[]api.L2Announcement](c, api.PathL2, nil)},
		{"agent/nat-retries.json", read[[]api.NATRetries](c, api.PathNATRetries, nil)},
		{"agent/health.json", read[[]api.Peer](c, api.PathHealth, nil)},
		{"agent/drops.json", read[[]api.Drop](c, api.PathDrops, nil)},
		{"agent/counters.json", read[[]api.Metric](c, api.PathMetrics, nil)},
		{"agent/connections.json", read[api.Connections](c, api.PathConnections+rows, nil)},
		{"agent/metrics.txt", func(ctx context.Context) (any, error) { return export(ctx, c) }},
	}
}

func messages(all []api.LogLine) []api.LogLine {
	for i := range all {
		all[i] = message(all[i])
	}
	return all
}

func export(ctx context.Context, c *api.Client) (any, error) {
	var e api.Export
	if err := c.Get(ctx, api.PathExport, &e); err != nil {
		return nil, err
	}
	return []byte(scrub(e.Text)), nil
}

// endpointPolicies are the rules of each endpoint and of the host.
func endpointPolicies(ctx context.Context, c *api.Client) (any, error) {
	var ends []api.Endpoint
	if err := c.Get(ctx, api.PathEndpoints, &ends); err != nil {
		return nil, err
	}
	names := []string{"host"}
	for _, e := range ends[:min(len(ends), mostEndpoints)] {
		names = append(names, fmt.Sprint(e.ID))
	}
	out := []api.EndpointPolicy{}
	var errs []error
	for _, n := range names {
		var p api.EndpointPolicy
		if err := c.Get(ctx, api.PathPolicyOf+"/"+n, &p); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, errors.Join(errs...)
	}
	return scrubbed(out)
}

// maps are a file for each map that the agent names, and tables one for each table.
// The agent's word decides what there is, the lists of redact.go what leaves.
func mapsAndTables(ctx context.Context, c *api.Client) ([]item, error) {
	var all []api.Map
	if err := c.Get(ctx, api.PathMaps, &all); err != nil {
		return nil, fmt.Errorf("list maps: %w", err)
	}
	out := []item{{"maps/list.json", func(context.Context) (any, error) { return scrubbed(all) }}}
	for _, m := range all {
		if m.Type == "RingBuf" || m.Type == "SkStorage" {
			continue // what is in a ring is the agent's to read, once; sockets have their own themselves
		}
		if name, ok := plain(m.Name); ok {
			out = append(out, item{"maps/" + name + ".json", read[api.MapDump](c, fmt.Sprintf("%s/%s?limit=%d", api.PathMaps, name, mostRows), nil)})
		}
	}
	var tables []string
	if err := c.Get(ctx, api.PathTables, &tables); err != nil {
		return out, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		if _, known := tableColumns[t]; known {
			out = append(out, item{"tables/" + t + ".json", read(c, api.PathTables+"/"+t, columns)})
		}
	}
	return out, nil
}

// plain is a name that can be a file's.
func plain(name string) (string, bool) {
	for _, r := range name {
		if r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return "", false
		}
	}
	return name, name != ""
}
