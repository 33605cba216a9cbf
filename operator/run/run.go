// Package run is the operator as a process: it elects one of its replicas, follows
// the cluster, and writes what package operator decides.
//
// A write says which version of an object it changes, and what another has
// changed meanwhile is looked at again. Nothing is removed because a list failed,
// lacks very much at once, or is older than what was known: every removal waits,
// is confirmed by asking for the object itself, and few go at a time. Traffic and
// agents need none of this to go on.
package run

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2" //nolint:depguard // what client-go logs goes into our log

	"weir/api/client"
	"weir/internal/run"
	"weir/observe/metrics"
	"weir/operator/config"
	"weir/source/kube/connect"
)

// Operator is one replica.
type Operator struct {
	log  *slog.Logger
	cfg  config.Config
	name string // of this replica, unlike any other's
	kube kubernetes.Interface
	ours *client.Client
	conn *connect.Conn // by which kube and ours find their server; nil: they know it

	report   *report
	recorder *metrics.Recorder
	registry metrics.Registry

	sweep time.Duration // between two looks for what nobody needs
}

// own is where a pod finds the namespace of its account.
const own = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// New returns a replica that works at the API server that the configuration names.
func New(log *slog.Logger, cfg config.Config) (*Operator, error) {
	klog.SetSlogLogger(log)
	conn, rc, err := connection(log, cfg.Kubeconfig, connect.Options{})
	if err != nil {
		return nil, err
	}
	if cfg.Lease.Namespace == "" {
		cfg.Lease.Namespace = ownNamespace()
	}
	if cfg.Agent.Namespace == "" {
		cfg.Agent.Namespace = ownNamespace()
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this replica: %w", err)
	}
	o, err := build(log, cfg, rc, fmt.Sprintf("%s_%d_%d", host, os.Getpid(), time.Now().UnixNano()))
	if err == nil {
		o.conn = conn
	}
	return o, err
}

func ownNamespace() string {
	if data, err := os.ReadFile(own); err == nil {
		return strings.TrimSpace(string(data))
	}
	return "kube-system"
}

// build makes a replica of its parts.
func build(log *slog.Logger, cfg config.Config, rc *rest.Config, name string) (*Operator, error) {
	rc, err := client.FreshToken(rest.CopyConfig(rc))
	if err != nil {
		return nil, err
	}
	rc.UserAgent = "weir-operator"
	rc.QPS, rc.Burst = 100, 200 // of a leader alone; the server limits by priority
	rc.Timeout = 0              // of watches: each write has its own
	k, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	o, err := client.New(rc)
	if err != nil {
		return nil, err
	}
	sweep := min(10*time.Second, cfg.Unused.Endpoints, cfg.Unused.Nodes, cfg.Unused.Identities, cfg.Unused.Leases)
	recorder := metrics.NewRecorder(metricsPrefix)
	out := &Operator{log: withRecorder(log, recorder), cfg: cfg, name: name, kube: k, ours: o, report: newReport(name), sweep: sweep,
		recorder: recorder, registry: metrics.New(metricsPrefix)}
	out.measure()
	return out, nil
}

// Run is the life of the replica. It ends with ctx, after the lease was given up,
// and with an error when it loses the lease: what it knew may be old by then, and
// a new process begins anew.
func (o *Operator) Run(ctx context.Context) error {
	defer o.connected(ctx)()
	g := run.New(ctx)
	if o.cfg.HealthAddr != "" {
		g.Go("health", o.serve)
	}
	if o.cfg.Prometheus.Enabled {
		g.Go("metrics", metrics.NewServer(o.log, o.cfg.Prometheus.Port, o.registry).Run)
	}
	g.Go("leader", func(ctx context.Context) error {
		defer g.Stop()
		return o.elect(ctx)
	})
	return g.Wait()
}
