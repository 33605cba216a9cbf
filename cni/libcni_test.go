package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"weir/api/agent"
)

// The library that runtimes use must be content with the whole life of a pod.
func TestLibcniLivesWithThePlugin(t *testing.T) {
	for _, version := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		f := newFake(t).start(t)
		t.Setenv(envRun, "5s")
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(self, filepath.Join(f.dir, "weir-cni")); err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(map[string]any{"cniVersion": version, "name": "pods", "plugins": []any{
			map[string]any{"type": "weir-cni", "socket": f.socket(), "runDir": f.dir}}})
		list, err := libcni.ConfListFromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		cni := libcni.NewCNIConfigWithCacheDir([]string{f.dir}, filepath.Join(f.dir, "cache"), nil)
		rt := &libcni.RuntimeConf{ContainerID: "c1", IfName: "eth0", NetNS: "/run/netns/none",
			Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", "web"}}}
		life(t, cni, list, rt)
		if f.asked(agent.PathCNICheck) == "" || f.asked(agent.PathCNIDel) == "" {
			t.Errorf("%s: the agent was not asked all: %v", version, f.requests)
		}
	}
}

func life(t *testing.T, cni *libcni.CNIConfig, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) {
	t.Helper()
	if err := cni.GetStatusNetworkList(t.Context(), list); err != nil {
		t.Errorf("%s: status: %v", list.CNIVersion, err)
	}
	if _, err := cni.AddNetworkList(t.Context(), list, rt); err != nil {
		t.Errorf("%s: add: %v", list.CNIVersion, err)
	}
	if err := cni.CheckNetworkList(t.Context(), list, rt); err != nil {
		t.Errorf("%s: check: %v", list.CNIVersion, err)
	}
	keep := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "c1", IfName: "eth0"}}}
	if err := cni.GCNetworkList(t.Context(), list, keep); err != nil {
		t.Errorf("%s: gc: %v", list.CNIVersion, err)
	}
	if err := cni.DelNetworkList(t.Context(), list, rt); err != nil {
		t.Errorf("%s: del: %v", list.CNIVersion, err)
	}
}
