package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"weir/api/agent"
	"weir/test/kubeproxy"
)

// WriteServices gives the agents services, all in one file. JSON is YAML, and is
// written faster.
func (c *Cluster) WriteServices(objects []kubeproxy.Object) error {
	swap, err := c.PrepareServices("services", objects...)
	if err != nil {
		return err
	}
	return swap()
}

// PrepareServices writes objects into a file beside its place; swap puts it there,
// which is when agents see it.
func (c *Cluster) PrepareServices(name string, objects ...kubeproxy.Object) (swap func() error, err error) {
	var data []byte
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode service: %w", err)
		}
		data = append(append(append(data, "---\n"...), text...), '\n')
	}
	file := filepath.Join(c.objects(), name+".yaml")
	tmp := filepath.Join(c.Dir, ".tmp-"+name)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return nil, fmt.Errorf("write services: %w", err)
	}
	return func() error { return os.Rename(tmp, file) }, nil
}

// ServicesInForce waits until the agent has so many services in its maps.
func (n *Node) ServicesInForce(ctx context.Context, count int) error {
	have := 0
	err := n.pollEvery(ctx, 50*time.Millisecond, 4*time.Minute, func(ctx context.Context) bool {
		var s agent.Status
		if n.client.Get(ctx, agent.PathStatus, &s) != nil || s.Services == nil {
			return false
		}
		have = s.Services.Services
		return have == count
	})
	if err != nil {
		return fmt.Errorf("wait for %d services, have %d: %w", count, have, err)
	}
	return nil
}
