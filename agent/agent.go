// Package agent wires a node's agent together: it is the picture of
// ARCHITECTURE.md as code, and the only package that may import everything.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/agent/config"
	"weir/bpf"
	"weir/control/conntrack"
	"weir/control/device"
	"weir/control/endpoint"
	"weir/control/health"
	"weir/control/healthcheck"
	"weir/control/host"
	"weir/control/identity"
	"weir/control/ipam"
	"weir/control/ipcache"
	"weir/control/l2announce"
	"weir/control/masquerade"
	"weir/control/node"
	"weir/control/policy"
	"weir/control/service"
	"weir/datapath"
	"weir/internal/reconcile"
	"weir/internal/run"
	"weir/observe"
	"weir/observe/metrics"
	"weir/source/kube"
	"weir/state"
)

// metricsPrefix is that of names which dashboards of the field know.
const metricsPrefix = "cilium"

// nodeNumbers is the rows of weir_nodes: other nodes that connections can name.
const nodeNumbers = 4096

// Agent is everything that runs on one node.
type Agent struct {
	log     *slog.Logger
	cfg     config.Loaded
	started time.Time

	tables    *state.Tables
	dp        *datapath.Datapath
	pool      *ipam.Pool
	endpoints *endpoint.Control
	host      *host.Control
	health    *health.Control
	policy    *policy.Control
	services  *service.Control
	checks    *healthcheck.Control

	masquerade *masquerade.Control
	kube       *kube.Source // nil: objects come from files
	former     *former
	l2         *l2announce.Control
	l2Link     datapath.L2Link
	conntrack  *conntrack.Control

	tail     *tail
	recorder *metrics.Recorder
	registry metrics.Registry
	scraped  *metrics.Server // nil: metrics are at the socket only

	sockets   *datapath.SocketEnder // nil: the kernel cannot, or kube-proxy has the services
	drops     drops
	walks     walks
	listening atomic.Bool   // events of the programs are read
	unknown   atomic.Uint64 // events that this build knows no kind of
	followers followers
	devices   observe.DeviceNames
	flows     *observe.Observer // nil: flows are off
	flowTCP   flowTCP
	clock     sync.Mutex
	jiffies   datapath.Ticks // 0: not measured yet; guarded by clock
	bpfRouted bool           // host routing by BPF
	warnings  []string
	drained   chan struct{} // closed when queued DELs are done
	unlock    func()        // lets go of the run folder
}

// New takes the run folder, opens the datapath and builds every part. It
// attaches nothing and starts nothing; Run does.
func New(log *slog.Logger, cfg config.Loaded) (*Agent, error) {
	if missing := datapath.Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("this kernel lacks what Weir needs: %s; the floor is Linux 5.10", strings.Join(missing, ", "))
	}
	recorder, last := metrics.NewRecorder(metricsPrefix), &tail{}
	log = slog.New(tailed{log.Handler(), last, nil})
	a := &Agent{log: withRecorder(log, recorder), tail: last, cfg: cfg, started: time.Now(), tables: state.New(), drained: make(chan struct{}), drops: drops{come: make(chan numberedDrop, dropsKept)}, warnings: cfg.Warnings,
		recorder: recorder, registry: metrics.New(metricsPrefix)}
	var err error
	if a.unlock, err = a.lock(); err != nil { // before anything of another agent could be touched
		return nil, err
	}
	if err := a.open(); err != nil {
		a.unlock()
		return nil, err
	}
	a.build()
	return a, nil
}

// open wipes what is to be wiped and opens the datapath.
func (a *Agent) open() (err error) {
	cfg := a.cfg
	var warning string
	if a.bpfRouted, warning, err = hostRouting(cfg.BPF.HostRouting, cfg.KubeProxyReplacement, datapath.HostRouting()); err != nil {
		return err
	}
	if warning != "" {
		a.warn(warning)
	}
	if cfg.BesideKubeProxy() && (cfg.EnableIPv4Masquerade || cfg.EnableIPv6Masquerade) {
		a.warn("enableIPv4Masquerade and enableIPv6Masquerade have no effect with kubeProxyReplacement false: what pods send to the world keeps their addresses; let rules of the host masquerade it")
	}
	if cfg.CleanState {
		if err := removePods(cfg.Config); err != nil {
			return fmt.Errorf("wipe state: %w", err)
		}
		a.log.Info("endpoints wiped", "state_dir", cfg.StateDir)
	}
	if need := int(endpoint.HighestID(cfg.StateDir)) + 1; need > a.cfg.BPF.Endpoints {
		a.warn(fmt.Sprintf("bpf.endpoints is %d, but a running pod has number %d: using %d until it is gone", a.cfg.BPF.Endpoints, need-1, need))
		a.cfg.BPF.Endpoints = need
	}
	ticks := make(chan datapath.Ticks, 1)
	go func() { ticks <- a.measureTicks() }()
	a.dp, err = datapath.Open(a.log.With("room", "datapath"), datapath.Options{
		Root: cfg.BPF.Root, AttachMode: datapath.AttachMode(cfg.BPF.AttachMode), Clean: cfg.CleanState || cfg.CleanBPF,
		Sizes: map[string]uint32{bpf.MapIPCache: uint32(cfg.BPF.IPCacheSize), bpf.MapEndpoints: uint32(a.cfg.BPF.Endpoints), bpf.MapNodes: nodeNumbers,
			bpf.MapPolicy: uint32(a.cfg.BPF.Endpoints), bpf.MapPolicyRules: uint32(cfg.BPF.PolicyRules), bpf.MapPolicyRows: uint32(cfg.BPF.PolicyRules),
			bpf.MapPolicyRanges: uint32(cfg.BPF.PolicyRules), bpf.MapPolicyCounters: uint32(cfg.BPF.PolicyRules),
			bpf.MapEvents: uint32(cfg.BPF.EventsSize), bpf.MapTraces: tracesSize(cfg.Config), bpf.MapDNS: dnsSize(cfg.Config)},
		Connections: datapath.ConnectionOptions{Size: uint32(cfg.BPF.CTSize), Limit: ctLimit(cfg.BPF.CTSize, cfg.BPF.CTLimit, memory())},
	})
	a.jiffies = <-ticks
	if err != nil {
		return err
	}
	if datapath.MountsAt(cfg.BPF.Root) > 1 {
		a.warn("more than one bpffs is mounted at " + cfg.BPF.Root + ": pins of an earlier agent may be hidden below")
	}
	return nil
}

// build makes every slice with its own part of the configuration.
func (a *Agent) build() {
	cfg := a.cfg.Config
	tunnel := cfg.RoutingMode == "tunnel"
	a.kube = a.newKube()
	a.former = a.openFormer()
	a.pool = ipam.New(cfg.NodeName)
	a.masquerade = masquerade.New(a.log.With("room", "masquerade"), masqueradeOptions(cfg), a.dp.Unmasqueraded)
	a.l2 = l2announce.New(a.log.With("room", "l2announce"), a.l2Options(), a.tables, a.dp.L2, &a.l2Link)
	a.host = host.New(a.log.With("room", "host"), host.Options{
		Tunnel: tunnel, TunnelPort: cfg.TunnelPort, IPv4: cfg.IPv4.Enabled, IPv6: cfg.IPv6.Enabled,
		HostRouting: a.bpfRouted, MTU: cfg.MTU, VLANBypass: cfg.BPF.VLANBypass, Underlay: cfg.UnderlayProtocol,
		Firewall: cfg.HostFirewall.Enabled, FailSafe: failSafe(cfg.HostFirewall),
		Monitor: a.monitorOptions(), Services: a.hostServices(), Masquerade: a.hostMasquerade(), L2: a.l2On(), NATPorts: natPortsOf(cfg), XDP: xdpMode(cfg.LoadBalancer.Acceleration),
		Check: func(pods, underlay []netip.Prefix) error { return config.CheckNode(cfg, pods, underlay) },
	}, a.tables, a.dp)
	a.endpoints = endpoint.New(a.log.With("room", "endpoint"), endpoint.Options{
		StateDir: cfg.StateDir, Cluster: cfg.Cluster.Name, Node: cfg.NodeName, IPv4: cfg.IPv4.Enabled, IPv6: cfg.IPv6.Enabled,
		Tunnel: tunnel, MTU: cfg.MTU, Underlay: cfg.UnderlayProtocol, Slots: cfg.BPF.Endpoints,
		ToPod: !a.bpfRouted || cfg.EndpointRoutes.Enabled, EndpointRoutes: cfg.EndpointRoutes.Enabled,
	}, a.tables, a.dp, allocator{a.pool})
	a.policy = policy.New(a.log.With("room", "policy"), a.policyOptions(), a.tables, a.dp.Policy)
	a.services = service.New(a.log.With("room", "service"), a.serviceOptions(), a.tables, a.dp.Services)
	a.sockets = a.socketEnder()
	a.checks = healthcheck.New(a.log.With("room", "healthcheck"), a.checkOptions(), a.tables)
	a.flows = a.newFlows()
	a.health = health.New(a.log, healthOptions(cfg), a.tables, attacher{a}, a.dp.Ready(), a.tables.Devices)
	a.conntrack = conntrack.New(a.log.With("room", "conntrack"), a.dp.CT, a.timeouts(), a.dp.Ready())
	a.measure()
}

// Run is the life of the agent: it ends with ctx, and what is in the kernel stays.
func (a *Agent) Run(ctx context.Context) error {
	defer a.unlock()
	defer a.dp.Close()
	if err := a.endpoints.Restore(); err != nil {
		a.log.Warn("some endpoints could not be restored", "err", err)
	}
	if err := a.dp.Follow(bpf.Walk{}); err != nil { // an agent that was killed may have left one
		return err
	}
	cfg := a.cfg.Config
	g := run.New(ctx)
	a.start(g, "source", a.source())
	a.start(g, "device", device.New(a.log, cfg.Devices, a.tables).Run)
	a.start(g, "ipam", a.runIPAM)
	a.start(g, "masquerade", a.masquerade.Run)
	a.start(g, "host", a.host.Run)
	a.start(g, "node", node.New(a.log, a.nodeOptions(), a.tables).Run)
	a.start(g, "identity", identity.New(a.log.With("room", "identity"), identity.Options{Cluster: cfg.Cluster.Name, Former: a.former.identities()}, a.tables).Run)
	if a.former.journal != nil {
		a.start(g, "identity journal", a.former.journal.Run)
		a.start(g, "identities kept", a.keepIdentities)
	}
	a.start(g, "ipcache", ipcache.New(a.log.With("room", "ipcache"), ipcache.Options{
		Dual: cfg.IPv4.Enabled && cfg.IPv6.Enabled, Nodes: nodeNumbers, Underlay6: a.underlay6, Ready: a.knowsItself,
	}, a.tables, ipcache.Maps{IPCache: a.dp.IPCache, Nodes: a.dp.Nodes, Generations: a.dp.Generations()}).Run)
	a.start(g, "policy", a.policy.Run)
	if cfg.KubeProxyReplacement {
		a.start(g, partService, a.services.Run)
		a.start(g, "healthcheck", a.checks.Run)
	}
	if a.l2On() {
		defer a.l2Link.Close()
		a.start(g, "l2announce", a.l2.Run)
	} else if _, err := a.dp.L2.Apply(nil); err != nil {
		a.log.Warn("addresses stay that this node answered for", "err", err)
	}
	if a.sockets != nil {
		defer a.sockets.Close()
		a.start(g, "sockets", a.services.Ending(a.sockets).Run)
	}
	a.start(g, "endpoint", a.endpoints.Run)
	if a.kube != nil {
		a.start(g, "endpoint objects", a.publish)
	}
	a.start(g, "conntrack", a.conntrack.Run)
	a.start(g, "events", a.readEvents)
	a.start(g, "drops", a.explainDrops)
	if a.flows != nil {
		a.start(g, "flows", a.runFlows)
		a.start(g, "flow service", a.serveFlows)
	}
	if cfg.Health.Enabled {
		a.start(g, "health", a.health.Run)
	} else if err := a.health.Remove(ctx); err != nil {
		a.log.Warn("health endpoint stays", "err", err)
	}
	if a.scraped != nil {
		a.start(g, "metrics", a.scraped.Run)
	}
	a.start(g, "api", a.serve)
	a.start(g, "deletes", a.drainDeletes)
	err := g.Wait()
	a.log.Info("agent ended, datapath stays")
	return err
}

// start runs one part and records how its reconcile loop does.
func (a *Agent) start(g *run.Group, name string, part func(context.Context) error) {
	g.Go(name, func(ctx context.Context) error {
		return part(reconcile.WithObserver(ctx, a.observer(name)))
	})
}

// runIPAM gives the pool the node's pod CIDRs, and keeps the addresses of the
// router and the health endpoint out of it. Of a CIDR that another node has, too, no new
// pod gets an address; that it is so is told by whoever makes the devices.
func (a *Agent) runIPAM(ctx context.Context) error {
	return reconcile.Loop(ctx, a.log.With("room", "ipam"), func(context.Context) error {
		local, err := host.Local(a.tables)
		if err != nil {
			return err
		}
		if err := config.CheckNode(a.cfg.Config, local.PodCIDRs, state.Networks(a.tables.Devices.All())); err != nil {
			return err
		}
		a.pool.Withhold(host.Overlaps(a.tables, local))
		return a.pool.SetCIDRs(local.PodCIDRs, append(append([]netip.Addr{}, local.Routers...), local.Health...))
	}, a.tables.Nodes, a.tables.Devices)
}

// hostRouting decides between BPF and legacy host routing; missing says what
// the kernel lacks for the former, or is nil. The warning is for a choice that
// was not the user's, or that kube-proxy cannot work with: its rules are in the
// host's stack.
func hostRouting(choice string, services bool, missing error) (bpf bool, warning string, err error) {
	switch {
	case choice == "legacy" || choice == "auto" && !services:
		return false, "", nil
	case missing == nil && !services:
		return true, "bpf.hostRouting is bpf and kubeProxyReplacement false: kube-proxy's rules do not see what pods send; set bpf.hostRouting to auto", nil
	case missing == nil:
		return true, "", nil
	case choice == "bpf":
		return false, "", fmt.Errorf("bpf.hostRouting is bpf, but %w: set it to legacy or auto", missing)
	}
	return false, "host routing is legacy: " + missing.Error(), nil
}

// knowsItself says why this node's part in the cluster is not known. Whatever
// depends on it stays as it is meanwhile.
func (a *Agent) knowsItself() error {
	_, err := host.Local(a.tables)
	return err
}

func (a *Agent) underlay6() bool {
	local, _ := host.Local(a.tables)
	return local.Underlay6(a.cfg.UnderlayProtocol)
}

func (a *Agent) warn(s string) {
	a.log.Warn(s)
	a.warnings = append(a.warnings, s)
}

func (a *Agent) queueDir() string { return filepath.Join(a.cfg.RunDir, "deleteQueue") }

// allocator lets the endpoint slice use the pool of the ipam slice.
type allocator struct{ *ipam.Pool }

func (p allocator) Allocate(is4 bool) (netip.Addr, error) {
	if is4 {
		return p.Pool.Allocate(ipam.IPv4)
	}
	return p.Pool.Allocate(ipam.IPv6)
}
