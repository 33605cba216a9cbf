package cli

import (
	"fmt"
	"maps"
	"math"
	"time"

	"weir/api/agent"
)

var probed = time.Date(2026, 6, 27, 9, 6, 44, 0, time.UTC)

// cluster3 is the agent of n1, one of three nodes that are well.
func cluster3() fake {
	f := fake{
		agent.PathStatus:    status3(),
		agent.PathEndpoints: endpoints3(),
		agent.PathNodes:     nodes3(),
		agent.PathIPs:       ips3(),
		agent.PathMaps:      maps3(),
		agent.PathMaps + "/weir_ipcache": agent.MapDump{Map: maps3()[0], Rows: []agent.MapRow{
			{Key: "10.0.1.7/32", Value: "identity=15773 encryptkey=0 tunnelendpoint=0.0.0.0", State: "sync"},
			{Key: "10.0.2.0/24", Value: "identity=2 encryptkey=0 tunnelendpoint=192.168.1.2", State: "missing", Error: "no space left on device"},
			{Key: "fd00:1::7/128", Value: "identity=15773 encryptkey=0 tunnelendpoint=::", State: "sync"},
		}},
		agent.PathMaps + "/weir_endpoints": &agent.Error{Message: "weir_endpoints cannot be read", Details: "permission denied"},
		agent.PathConfig: agent.Config{
			File:     "/etc/weir/weir.yaml",
			Agent:    []agent.Option{{Key: "routingMode", Value: "tunnel", Default: true}, {Key: "ipv6.enabled", Value: "true", From: "weir.yaml:7"}},
			Datapath: []agent.Option{{Key: "verify_source", Value: "1"}, {Key: "router_ipv4", Value: "10.0.1.1"}},
		},
		agent.PathKeys + "?key=routing": &agent.Error{Message: `unknown key "routing": did you mean "routingMode"?`},
		agent.PathKeys + "?key=bpf": []agent.ConfigKey{
			{Key: "bpf.root", Value: "/run/bpf", Unset: "/sys/fs/bpf", From: "/etc/weir/weir.yaml:7", Means: "where bpffs is, or gets, mounted"},
			{Key: "bpf.hostRouting", Value: "auto", Unset: "auto", Means: "whether packets pass the host's stack", Other: []string{"bpf.hostLegacyRouting"}},
			{Key: "bpf.vlanBypass", Means: "VLAN ids that pass unjudged"},
		},
		agent.PathMetrics: []agent.Metric{
			{Reason: "Forwarded to endpoint", Place: "from_pod", Direction: "EGRESS", Packets: 1200, Bytes: 98000},
			{Reason: "Invalid source ip", Drop: true, Place: "from_pod", Direction: "EGRESS", Packets: 3, Bytes: 294},
		},
		agent.PathHealth: peers3(),
		agent.PathWalk:   walk3(),
		agent.PathWhy:    why3(),
		agent.PathExport: agent.Export{Text: "# HELP cilium_endpoint Endpoints.\n# TYPE cilium_endpoint gauge\ncilium_endpoint 2\n"},
		agent.PathTables: []string{"nodes", "ips"},
		agent.PathTables + "/nodes": agent.Table{Name: "nodes", Heading: []string{"Name", "Addresses", "Local"},
			Rows: [][]string{{"n1", "192.168.1.1,fd01::1", "true"}, {"n2-with-a-long-name", "192.168.1.2", "false"}}},
	}
	maps.Copy(f, policies3())
	maps.Copy(f, services3())
	return f
}

// sick is an agent with one of everything amiss.
func sick() fake {
	s := status3()
	s.OK = false
	s.Source = agent.Condition{Message: "Kubernetes 1.37 (v1.37.2): no answer for 20s"}
	s.KubernetesAPIs = []string{"cilium/v2::CiliumNode", "core/v1::Pods"}
	s.Datapath = agent.Condition{Message: "11 of 12 programs attached: eth0 ingress from_netdev: permission denied"}
	s.CNIConfig = "CNI configuration file management disabled"
	s.Devices, s.IPAM = nil, nil
	s.Connections = &agent.ConnectionsStatus{Count: 360000, Capacity: 400000, Limit: 400000, Pressure: 0.9}
	s.Policy = &agent.PolicyStatus{Mode: "always", InForce: 5, Refused: 1, NotEnforced: 2, Partly: 1}
	s.Identities = nil
	s.Services = &agent.ServicesStatus{Replacement: true, Services: 1, Frontends: 2, Problems: 2,
		Healthz: ":10256", HealthzError: "health checks at :10256/TCP: address already in use"}
	s.Controllers = agent.ControllersStatus{Healthy: 34, Total: 35}
	s.Health = agent.HealthStatus{Enabled: true, Interval: "10s", Total: 3, Daemon: agent.Condition{Message: "answer health probes at 10.0.1.4:4240: address already in use"}}
	s.Monitor.Lost, s.Monitor.Unknown = 1200, 1
	s.Flows = &agent.FlowsStatus{OK: true, Current: 4095, Max: 4095, PerSecond: 6.853}
	s.Routing = agent.RoutingStatus{Mode: "Native", Host: "Legacy", AttachMode: "Legacy TC", RouteMTU: 1500, NativeIPv4: "10.0.0.0/8", NativeIPv6: "fd00::/48"}
	s.Problems = []agent.Problem{
		{Object: "Pod default/web", File: "pods.yaml", Line: 12, Error: `unknown field "contianers"`},
		{Object: "Node n9", Error: "pod CIDR 192.168.1.0/24 overlaps the underlay"},
	}
	s.Warnings = []string{"device tunl0 was left by another network plugin", "kernel 5.10 has no TCX: programs are attached with tc"}
	peers := peers3()
	peers[1] = agent.Peer{Node: "n2", NodeIP: "192.168.1.2", NodeError: "no route to host", EndpointIP: "10.0.2.4", Endpoint: "timeout", LastProbe: probed}
	peers[2].NodeOK, peers[2].LastProbe = false, time.Time{}
	return fake{agent.PathStatus: s, agent.PathServices: agent.Services{}, agent.PathHealth + "?probe=1": peers}
}

func status3() agent.Status {
	return agent.Status{
		OK: true, Version: "v0.1.0", Commit: "c0ffee", Node: "n1", Cluster: "demo", Started: now.Add(-90 * time.Minute),
		Source:    agent.Condition{OK: true, Message: "files /etc/weir/objects"},
		Devices:   []agent.DeviceStatus{{Name: "eth0", MTU: 1500, Addrs: []string{"192.168.1.1", "fd01::1"}}, {Name: "eth1", MTU: 9000}},
		Routing:   agent.RoutingStatus{Mode: "Tunnel [vxlan]", Host: "BPF", AttachMode: "TCX", DeviceMode: "veth", TunnelPort: 8472, RouteMTU: 1450},
		CNIConfig: "successfully wrote CNI configuration file to /etc/cni/net.d/05-weir.conflist",
		IPAM: []agent.PoolStatus{
			{Family: "IPv4", CIDR: "10.0.1.0/24", Allocated: 6, Capacity: 254},
			{Family: "IPv4", CIDR: "10.0.9.0/28", Capacity: 14},
			{Family: "IPv6", CIDR: "fd00:1::/64", Allocated: 6, Capacity: math.MaxInt64},
		},
		Datapath: agent.Condition{OK: true, Message: "12 programs attached"},
		Programs: []agent.ProgramStatus{
			{Device: "eth0", Name: "from_netdev", Direction: "ingress", ProgramID: 41, Attached: true},
			{Device: "weir0123456789a", Name: "from_pod", Direction: "ingress", ProgramID: 44, Error: "device is gone"},
		},
		Health:  agent.HealthStatus{Enabled: true, Daemon: agent.Condition{OK: true}, Interval: "10s", Reachable: 3, Total: 3, LastProbe: probed},
		Monitor: agent.MonitorStatus{Listening: true, CPUs: 128, Pages: 64, PageSize: 4096}, ClockSource: "jiffies [250 Hz]",
		Absent: []agent.Absent{{Name: "KVStore", State: "Disabled"}, {Name: "SRv6", State: "Disabled"}, {Name: "CNI Chaining", State: "none"}, {Name: "IPv4 BIG TCP", State: "Disabled"},
			{Name: "IPv6 BIG TCP", State: "Disabled"}, {Name: "BandwidthManager", State: "Disabled"}, {Name: "Proxy Status", State: "Disabled"},
			{Name: "Encryption", State: "Disabled"}, {Name: "ClusterMesh", State: "Disabled"}},
		Controllers: agent.ControllersStatus{Healthy: 2, Total: 2, All: []agent.Controller{
			{Name: "ipcache", Runs: 12, LastSuccess: now.Add(-3 * time.Second)},
			{Name: "device", Runs: 3, Failures: 3, LastFailure: now.Add(-time.Second), LastError: "link eth0: no such device"},
		}},
		BPFRoot: "/sys/fs/bpf", Endpoints: 2, Kernel: "6.18.0",
		Connections: &agent.ConnectionsStatus{Count: 120, Capacity: 65536, Limit: 400000, Pressure: 0.0003},
		Policy:      &agent.PolicyStatus{Mode: "default", InForce: 3, HostFirewall: true},
		Identities:  &agent.IdentitiesStatus{Cluster: 7, Local: 1, Min: 256, Max: 65535},
		L2:          &agent.L2Status{Addresses: 4, Local: 2},
		Flows:       &agent.FlowsStatus{OK: true, Current: 4095, Max: 95325, PerSecond: 6.85, Address: "[::]:4244"},
		Services: &agent.ServicesStatus{Replacement: true, DirectRouting: "eth0", Mode: "dsr", Dispatch: "opt", Algorithm: "maglev", Services: 2, Frontends: 5, Backends: 1,
			HealthChecks: 1, Healthz: ":10256", SocketLB: true, NodePorts: "30000-32767", Acceleration: "Native   [eth0]"},
	}
}

func endpoints3() []agent.Endpoint {
	return []agent.Endpoint{
		{ID: 1, Pod: "default/web", ContainerID: "c1", Identity: 15773, State: "ready", IPv4: "10.0.1.7", IPv6: "fd00:1::7",
			Labels: []string{"k8s:app=web", "k8s:io.cilium.k8s.policy.cluster=demo", "k8s:io.kubernetes.pod.namespace=default"},
			Device: "weir0123456789a", Ifindex: 16385, MAC: "96:86:44:a6:37:ec", NodeMAC: "d2:ad:65:4d:d0:7b", MTU: 1450, PolicyIn: "Disabled", PolicyOut: "Disabled"},
		{ID: 2, Identity: 4, Labels: []string{"reserved:health"}, State: "ready", IPv4: "10.0.1.4",
			Device: "weir_health", Ifindex: 16386, PolicyIn: "Disabled", PolicyOut: "Disabled"},
	}
}

func nodes3() []agent.Node {
	return []agent.Node{
		{Name: "n1", Local: true, IPv4: "192.168.1.1", IPv6: "fd01::1", IPv4CIDRs: []string{"10.0.1.0/24", "10.0.9.0/28"}, IPv6CIDRs: []string{"fd00:1::/64"}, Source: "local"},
		{Name: "n2", IPv4: "192.168.1.2", IPv4CIDRs: []string{"10.0.2.0/24"}, Source: "custom-resource"},
		{Name: "n3", IPv6: "fd01::3", IPv6CIDRs: []string{"fd00:3::/64", "fd00:33::/64"}, Source: "custom-resource"},
	}
}

func ips3() []agent.IP {
	return []agent.IP{
		{Prefix: "10.0.1.7/32", Identity: 15773, Labels: []string{"k8s:app=web", "k8s:io.kubernetes.pod.namespace=default"}, Endpoint: 1, Source: "endpoint", Of: "default/web"},
		{Prefix: "10.0.2.0/24", Identity: 2, Labels: []string{"reserved:world"}, TunnelEndpoint: "192.168.1.2", Source: "cidr", Of: "n2"},
		{Prefix: "10.0.2.9/32", Identity: 20000, TunnelEndpoint: "192.168.1.2", Source: "pod", Of: "default/db"},
		{Prefix: "192.168.1.1/32", Identity: 1, Labels: []string{"reserved:host"}, Source: "host", Of: "n1"},
		{Prefix: "fd00:1::7/128", Identity: 15773, Labels: []string{"k8s:app=web", "k8s:io.kubernetes.pod.namespace=default"}, Endpoint: 1, Source: "endpoint", Of: "default/web"},
	}
}

func maps3() []agent.Map {
	return []agent.Map{
		{Name: "weir_ipcache", Type: "LPMTrie", ID: 7, KeySize: 20, ValueSize: 24, MaxEntries: 512000, Entries: 3, Errors: 1, Memory: 4 << 20, Pin: "/sys/fs/bpf/weir/maps/weir_ipcache", Mirrored: true},
		{Name: "weir_endpoints", Type: "Array", ID: 8, KeySize: 4, ValueSize: 64, MaxEntries: 4096, Entries: 2, Memory: 262464, Pin: "/sys/fs/bpf/weir/maps/weir_endpoints", Mirrored: true},
		{Name: "weir_ct", Type: "LRUHash", ID: 9, KeySize: 40, ValueSize: 40, MaxEntries: 131072, Entries: -1, Memory: 900, Pin: "/sys/fs/bpf/weir/maps/weir_ct"},
	}
}

func peers3() []agent.Peer {
	return []agent.Peer{
		{Node: "n1", Local: true, NodeIP: "192.168.1.1", NodeOK: true, NodeRTT: 81 * time.Microsecond, EndpointIP: "10.0.1.4", EndpointOK: true, EndpointRT: 102 * time.Microsecond, LastProbe: probed},
		{Node: "n2", NodeIP: "192.168.1.2", NodeOK: true, NodeRTT: 1234567, EndpointIP: "10.0.2.4", EndpointOK: true, EndpointRT: 2 * time.Millisecond, LastProbe: probed,
			NodePing: agent.Ping{OK: true, RTT: 400 * time.Microsecond}, EndpointPing: agent.Ping{Error: "ping 10.0.2.4: i/o timeout"}},
		{Node: "n3", NodeIP: "fd01::3", NodeOK: true, NodeRTT: 900 * time.Microsecond, LastProbe: probed},
	}
}

// explainFile3 knows weir.yaml, and wrong.yaml, in which something is wrong beside.
func explainFile3(file, key string) ([]agent.ConfigKey, error) {
	keys := []agent.ConfigKey{{Key: key, Value: "9000", Unset: "0", From: file + ":1", Means: "MTU of the underlay"}}
	switch file {
	case "weir.yaml":
		return keys, nil
	case "wrong.yaml":
		return keys, fmt.Errorf(`%s:2: unknown key "foo"`, file)
	}
	return nil, fmt.Errorf("read configuration: open %s: no such file or directory", file)
}
