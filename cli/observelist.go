package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir/api/observer"
	"weir/api/relay"
)

// asks makes a command of one question to whoever serves flows.
func asks[R proto.Message](env *Env, server *flowServer, use, short string, ask func(context.Context, *grpc.ClientConn) (R, error), print func(io.Writer, string, R)) *cobra.Command {
	return verb(env, use, short, cobra.NoArgs, func(ctx context.Context, env *Env, _ []string) error {
		conn, address, err := server.connect(env)
		if err != nil {
			return err
		}
		defer conn.Close()
		reply, err := ask(ctx, conn)
		if err != nil {
			return refused(address, err)
		}
		if env.output == outputJSON {
			text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(reply)
			if err != nil {
				return err
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, text, "", "  "); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, indented.String())
			return err
		}
		print(env.Stdout, address, reply)
		return nil
	})
}

func observeStatusCommand(env *Env, server *flowServer) *cobra.Command {
	return asks(env, server, "status", "Show whether flows are served, and how many are kept",
		func(ctx context.Context, c *grpc.ClientConn) (*observer.ServerStatusResponse, error) {
			if _, err := grpc_health_v1.NewHealthClient(c).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				return nil, err
			}
			return observer.NewObserverClient(c).ServerStatus(ctx, &observer.ServerStatusRequest{})
		}, printFlowStatus)
}

func printFlowStatus(w io.Writer, address string, s *observer.ServerStatusResponse) {
	fmt.Fprintf(w, "Healthcheck (via %s): Ok\n", address)
	share := 0.0
	if s.MaxFlows > 0 {
		share = 100 * float64(s.NumFlows) / float64(s.MaxFlows)
	}
	fmt.Fprintf(w, "Current/Max Flows: %d/%d (%.2f%%)\n", s.NumFlows, s.MaxFlows, share)
	fmt.Fprintf(w, "Flows/s: %.2f\n", s.FlowsRate)
	if s.NumConnectedNodes == nil {
		return
	}
	connected, away := s.NumConnectedNodes.Value, s.NumUnavailableNodes.GetValue()
	fmt.Fprintf(w, "Connected Nodes: %d/%d\n", connected, connected+away)
	if away > 0 {
		fmt.Fprintf(w, "Unavailable Nodes: %s\n", strings.Join(s.UnavailableNodes, ", "))
	}
}

func observeNodesCommand(env *Env, server *flowServer) *cobra.Command {
	return asks(env, server, "nodes", "List the nodes whose flows are served",
		func(ctx context.Context, c *grpc.ClientConn) (*observer.GetNodesResponse, error) {
			return observer.NewObserverClient(c).GetNodes(ctx, &observer.GetNodesRequest{})
		}, printFlowNodes)
}

func printFlowNodes(w io.Writer, _ string, r *observer.GetNodesResponse) {
	g := grid{{"NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS", "VERSION", "ADDRESS", "TLS"}}
	for _, n := range r.Nodes {
		if n.State != relay.NodeState_NODE_CONNECTED {
			g.add(n.Name, stateText(n.State), "N/A", "N/A", "N/A", n.Version, n.Address, tlsText(n.Tls))
			continue
		}
		age := time.Duration(n.UptimeNs)
		rate := 0.0
		if age > 0 {
			rate = float64(n.SeenFlows) / age.Seconds()
		}
		g.add(n.Name, stateText(n.State), age.Truncate(time.Second).String(), strconv.FormatFloat(rate, 'f', 2, 64),
			fmt.Sprintf("%d/%d", n.NumFlows, n.MaxFlows), n.Version, n.Address, tlsText(n.Tls))
	}
	g.print(w, "")
}

func stateText(s relay.NodeState) string {
	name := strings.TrimPrefix(s.String(), "NODE_")
	return name[:1] + strings.ToLower(name[1:])
}

func tlsText(t *observer.TLS) string {
	if t.GetEnabled() {
		return "Enabled"
	}
	return "Disabled"
}

func observeNamespacesCommand(env *Env, server *flowServer) *cobra.Command {
	return asks(env, server, "namespaces", "List the namespaces of which flows are kept",
		func(ctx context.Context, c *grpc.ClientConn) (*observer.GetNamespacesResponse, error) {
			return observer.NewObserverClient(c).GetNamespaces(ctx, &observer.GetNamespacesRequest{})
		}, func(w io.Writer, _ string, r *observer.GetNamespacesResponse) {
			g := grid{{"NAMESPACE", "CLUSTER"}}
			for _, n := range r.Namespaces {
				g.add(n.Namespace, n.Cluster)
			}
			g.print(w, "")
		})
}
