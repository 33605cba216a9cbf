package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	api "weir/api/agent"
	"weir/api/walk"
	"weir/api/wire"
	"weir/bpf"
	"weir/control/policy"
	"weir/internal/run"
	"weir/internal/version"
	"weir/observe"
	"weir/state"
)

// flowSocket is where this node's flows are served, in the run folder.
const flowSocket = "hubble.sock"

func (a *Agent) newFlows() *observe.Observer {
	h := a.cfg.Hubble
	if !h.Enabled {
		return nil
	}
	return observe.New(observe.Options{Cluster: a.cfg.Cluster.Name, Node: a.cfg.NodeName, Version: version.Version,
		Bytes: h.BufferBytes, Flows: h.BufferFlows, Count: h.Metrics.Enabled}, a.tables, flowRules{a.policy})
}

// runFlows does what readers need, and tells them what the rings have lost.
func (a *Agent) runFlows(ctx context.Context) error {
	g := run.New(ctx)
	g.Go("readers", a.flows.Run)
	g.Go("loss", func(ctx context.Context) error {
		told := a.ringLoss()
		unheard, _ := a.dp.AnswersLost()
		look := time.NewTicker(lookForLoss)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-look.C:
			}
			if now := a.ringLoss(); now.Verdicts >= told.Verdicts && now.Traces >= told.Traces { // else it could not be read
				a.flows.Lost(now.Verdicts - told.Verdicts + now.Traces - told.Traces)
				told = now
			}
			if now, err := a.dp.AnswersLost(); err == nil && now >= unheard {
				a.flows.Lost(now - unheard)
				unheard = now
			}
		}
	})
	return g.Wait()
}

// flowRules is what policy says of rules.
type flowRules struct{ *policy.Control }

func (r flowRules) Rule(id uint32) observe.Rule {
	rule, ok := r.DecideRule(id)
	if !ok {
		return observe.Rule{}
	}
	return observe.Rule{Policies: rule.Keys, Match: matchType(rule.Match)}
}

func (r flowRules) Isolated(endpoint uint32, ingress bool) []state.PolicyKey {
	return r.Isolators(state.EndpointID(endpoint), ingress)
}

// matchType is the number that the field's clients know for it.
func matchType(m policy.Match) uint8 {
	port, proto, anything := uint8(2), uint8(5), uint8(1) // with a peer
	if m.Everybody {
		port, proto, anything = 3, 6, 4
	}
	switch m.Level {
	case bpf.LevelAny:
		return anything
	case bpf.LevelProto:
		return proto
	}
	return port
}

// serveFlows answers gRPC on the node's socket, and on TCP where that may be, until ctx
// ends.
func (a *Agent) serveFlows(ctx context.Context) error {
	path := filepath.Join(a.cfg.RunDir, flowSocket)
	socket, err := listen(path)
	if err != nil {
		return err
	}
	h, certs := a.cfg.Hubble, a.flowCertificates()
	peers := observe.PeerOptions{TLS: h.TLS.Enabled}
	g := run.New(ctx)
	switch {
	case h.ListenAddress == "":
	case h.TLS.Enabled && certs == nil:
		a.log.Info("flows are served on the node's socket alone", "socket", path, "missing", "hubble.tls.certFile")
	default:
		_, port, _ := net.SplitHostPort(h.ListenAddress)
		peers.Port, _ = strconv.Atoi(port)
		g.Go("flows on TCP", func(ctx context.Context) error { return a.serveFlowsOnTCP(ctx, certs, peers) })
	}
	g.Go("flows on the socket", func(ctx context.Context) error { return a.answerFlows(ctx, wire.Server(nil), socket, peers) })
	return g.Wait()
}

// listenAgain is how often what is not there is asked for again.
const listenAgain = 5 * time.Second

func (a *Agent) flowListener(ctx context.Context, certs *wire.Certificates) (net.Listener, error) {
	if certs != nil {
		if err := certs.Check(); err != nil {
			return nil, err
		}
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.Hubble.ListenAddress)
}

// serveFlowsOnTCP waits for certificate and port as long as it takes: what a node can do without is
// no reason to end its agent.
func (a *Agent) serveFlowsOnTCP(ctx context.Context, certs *wire.Certificates, peers observe.PeerOptions) error {
	for said := false; ; said = true {
		l, err := a.flowListener(ctx, certs)
		if err == nil {
			a.flowTCP.set(l.Addr().String(), nil)
			return a.answerFlows(ctx, wire.Server(certs), l, peers)
		}
		if a.flowTCP.set("", err); !said {
			a.log.Warn("flows are not served on TCP yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(listenAgain):
		}
	}
}

// flowTCP is how TCP is doing.
type flowTCP struct {
	mu      sync.Mutex
	address string // where it is served; empty: nowhere
	err     error  // why it is not, although it should be
}

func (t *flowTCP) set(address string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.address, t.err = address, err
}

func (a *Agent) flowsStatus() *api.FlowsStatus {
	if a.flows == nil {
		return nil
	}
	now := a.flows.Status()
	out := &api.FlowsStatus{OK: true, Current: now.NumFlows, Max: now.MaxFlows, PerSecond: now.FlowsRate,
		Metrics: a.cfg.Prometheus.Enabled && len(a.cfg.Hubble.Metrics.Enabled) > 0}
	a.flowTCP.mu.Lock()
	defer a.flowTCP.mu.Unlock()
	if out.Address = a.flowTCP.address; a.flowTCP.err != nil {
		out.OK, out.Message = false, a.flowTCP.err.Error()
	}
	return out
}

// answerFlows serves until ctx ends.
func (a *Agent) answerFlows(ctx context.Context, s *grpc.Server, on net.Listener, peers observe.PeerOptions) error {
	a.flows.Register(s, peers)
	walk.RegisterWalkServer(s, a.walkServer())
	stop := context.AfterFunc(ctx, s.Stop) // who follows would never end
	defer stop()
	if err := s.Serve(wire.Limit(on)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve flows on %s: %w", on.Addr(), err)
	}
	return nil
}

func (a *Agent) flowCertificates() *wire.Certificates {
	t := a.cfg.Hubble.TLS
	if !t.Enabled || t.CertFile == "" {
		return nil
	}
	return &wire.Certificates{CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.ClientCAFile}
}
