package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"weir/api/agent"
)

const (
	cniVersion = "1.1.0"
	podDevice  = "eth0"
	// retryLimit is how long an ADD is repeated while the agent says "try
	// again later", as a kubelet would do for longer.
	retryLimit = 8 * time.Second
)

func conflistFile(n Node) string { return filepath.Join(n.Dir, "05-weir.conflist") }

// writeConflist writes the CNI configuration that a runtime on the node reads.
func (r *record) writeConflist(n Node) error {
	list := map[string]any{
		"cniVersion": cniVersion,
		"name":       "weir",
		"plugins": []any{map[string]any{
			"type":     "weir-cni",
			"socket":   n.Socket(),
			"runDir":   filepath.Dir(n.Socket()),
			"log-file": filepath.Join(n.Dir, "cni.log"),
		}},
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return fmt.Errorf("encode CNI configuration: %w", err)
	}
	return writeFile(r.dir(), conflistFile(n), append(data, '\n'))
}

// runtime returns what libcni needs to call the plugin for a pod.
func (r *record) runtime(p Pod) (*libcni.CNIConfig, *libcni.NetworkConfigList, *libcni.RuntimeConf, error) {
	list, err := libcni.ConfListFromFile(conflistFile(*r.node(p.Node)))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read CNI configuration: %w", err)
	}
	rt := &libcni.RuntimeConf{
		ContainerID: p.ContainerID,
		NetNS:       netnsPath(p.Netns),
		IfName:      podDevice,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", p.Namespace},
			{"K8S_POD_NAME", p.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", p.ContainerID},
		},
	}
	return libcni.NewCNIConfigWithCacheDir([]string{r.Bin}, r.path("cni"), nil), list, rt, nil
}

// attach adds the pod to the network and fills in what came of it. The plugin
// runs in the node's namespace, where its device has to appear.
func (r *record) attach(ctx context.Context, p *Pod) error {
	c, list, rt, err := r.runtime(*p)
	if err != nil {
		return err
	}
	var res types.Result
	until, cancel := context.WithTimeout(ctx, retryLimit)
	defer cancel()
	_ = poll(until, 250*time.Millisecond, func() bool { // err says how it ended
		err = inside(netnsPath(r.node(p.Node).Netns), func() (err error) {
			res, err = c.AddNetworkList(ctx, list, rt)
			return err
		})
		return !tryAgain(err)
	})
	if err != nil {
		return fmt.Errorf("CNI ADD: %w", errors.Join(err, r.detach(ctx, *p)))
	}
	got, err := types100.GetResult(res)
	if err != nil {
		return fmt.Errorf("CNI ADD: read result: %w", err)
	}
	p.IPs, p.HostDevice = nil, ""
	for _, ip := range got.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			p.IPs = append(p.IPs, a.Unmap())
		}
	}
	for _, i := range got.Interfaces {
		if i.Sandbox == "" {
			p.HostDevice = i.Name
		}
	}
	return nil
}

// detach takes the pod off the network.
func (r *record) detach(ctx context.Context, p Pod) error {
	c, list, rt, err := r.runtime(p)
	if err != nil {
		return err
	}
	err = inside(netnsPath(r.node(p.Node).Netns), func() error { return c.DelNetworkList(ctx, list, rt) })
	if err != nil {
		return fmt.Errorf("CNI DEL %s: %w", p.Key(), err)
	}
	return nil
}

func tryAgain(err error) bool {
	var e *types.Error
	return errors.As(err, &e) && agent.ErrorCode(e.Code) == agent.CodeTryAgainLater
}
