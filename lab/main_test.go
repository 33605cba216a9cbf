package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"sigs.k8s.io/yaml"

	"weir/agent/config"
	"weir/api/agent"
	"weir/cli"
)

// TestMain makes the test binary stand for the programs that a lab starts, so
// that topology, pods and removal are tested without a datapath.
func TestMain(m *testing.M) {
	roles := map[string]func() error{"weir": weirRole, "weir-agent": agentRole, "weir-cni": pluginRole}
	role, ok := roles[filepath.Base(os.Args[0])]
	if !ok {
		os.Exit(m.Run())
	}
	if err := role(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func weirRole() error {
	root := cli.Command(&cli.Env{Stdout: os.Stdout, Stderr: os.Stderr})
	root.AddCommand(Command())
	os.Exit(cli.Execute(context.Background(), root, os.Args[1:]))
	return nil
}

// agentRole answers CNI STATUS and nothing else. It mounts a tmpfs where an
// agent mounts bpffs.
func agentRole() error {
	data, err := os.ReadFile(os.Args[2])
	if err != nil {
		return err
	}
	c, _, err := config.Parse(os.Args[2], data)
	if err != nil {
		return err
	}
	if c.NodeName == "broken" {
		return fmt.Errorf("this agent cannot start")
	}
	_ = syscall.Mount("tmpfs", c.BPF.Root, "tmpfs", 0, "")
	_ = os.Remove(c.Socket)
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc(agent.PathCNIStatus, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })
	go http.Serve(l, mux)
	<-ctx.Done()
	return nil
}

// pluginRole makes a veth with addresses out of the pod's name.
func pluginRole() error {
	var conf struct {
		CNIVersion string `json:"cniVersion"`
		RunDir     string `json:"runDir"`
	}
	stdin, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = yaml.Unmarshal(stdin, &conf)
	}
	if err != nil {
		return err
	}
	dev := "v" + os.Getenv("CNI_CONTAINERID")[:10]
	switch os.Getenv("CNI_COMMAND") {
	case "VERSION":
		fmt.Println(`{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}`)
	case "DEL":
		f, err := os.OpenFile(filepath.Join(conf.RunDir, "deleted"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		fmt.Fprintln(f, os.Getenv("CNI_ARGS"))
		if l, err := netlink.LinkByName(dev); err == nil {
			return netlink.LinkDel(l)
		}
	case "ADD":
		return pluginAdd(conf.CNIVersion, dev)
	}
	return nil
}

func pluginAdd(version, dev string) error {
	ns, err := netns.GetFromPath(os.Getenv("CNI_NETNS"))
	if err != nil {
		return err
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: dev}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}); err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	id := []byte(os.Getenv("CNI_CONTAINERID"))
	ip := fmt.Sprintf("10.%d.%d.%d", id[0], id[1], id[2])
	addr, err := netlink.ParseAddr(ip + "/32")
	if err != nil {
		return err
	}
	l, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := h.AddrAdd(l, addr); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"cniVersion": version,
		"interfaces": []any{map[string]any{"name": dev}, map[string]any{"name": "eth0", "sandbox": os.Getenv("CNI_NETNS")}},
		"ips":        []any{map[string]any{"address": ip + "/32", "interface": 1}},
	})
}
