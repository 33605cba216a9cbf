// Package run is the relay as a process: its flags, where it listens, and how it is asked
// whether it is well.
package run

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"

	"weir/api/wire"
	"weir/internal/run"
	"weir/internal/version"
	"weir/observe/metrics"
	"weir/relay"
	"weir/relay/page"
)

// Config is what the flags say.
type Config struct {
	Listen  string             // TCP, for clients
	Health  string             // TCP, for probes; empty: nowhere
	Metrics string             // TCP, for Prometheus; empty: nowhere
	Page    string             // TCP, for browsers; empty: nowhere
	Hosts   []string           // names that browsers may call the page by
	Certs   *wire.Certificates // for clients; nil: without TLS
	Relay   relay.Options
}

// Parse reads the flags. The error names the flag and the way out.
func Parse(args []string, usage io.Writer) (Config, error) {
	c := Config{Relay: relay.Options{Version: version.Version}}
	var server, client wire.Certificates
	var plainServer, plainClient bool
	var cluster string
	f := flag.NewFlagSet("weir-relay", flag.ContinueOnError)
	f.SetOutput(usage)
	f.StringVar(&c.Listen, "listen-address", ":4245", "`ADDRESS:PORT` for clients")
	f.StringVar(&c.Health, "health-address", ":4222", "`ADDRESS:PORT` where /healthz and /readyz are asked for; empty: nowhere")
	f.StringVar(&c.Metrics, "metrics-address", "", "`ADDRESS:PORT` where Prometheus asks for /metrics, such as :9966; empty: nowhere")
	f.StringVar(&c.Page, "page-address", "", "`ADDRESS:PORT` where a browser is served a page with the flows, such as 127.0.0.1:4246, without TLS: it asks nobody who they are; empty: nowhere")
	f.Func("page-host", "`NAME` that browsers may call the page by, besides localhost and addresses; may be given again", func(name string) error {
		c.Hosts = append(c.Hosts, name)
		return nil
	})
	f.StringVar(&c.Relay.PeerService, "peer-service", "unix:///var/run/weir/hubble.sock", "an agent that tells where all are: `ADDRESS:PORT` or unix:///PATH")
	f.StringVar(&cluster, "cluster-name", "default", "`NAME` of the cluster, for the name in that agent's certificate")
	f.StringVar(&client.CAFile, "tls-hubble-server-ca-file", "", "`FILE` with the authority of agents' certificates, PEM")
	f.StringVar(&client.CertFile, "tls-hubble-client-cert-file", "", "`FILE` with the relay's certificate for agents, PEM")
	f.StringVar(&client.KeyFile, "tls-hubble-client-key-file", "", "`FILE` with its key, PEM")
	f.BoolVar(&plainClient, "disable-client-tls", false, "speak to agents without TLS")
	f.StringVar(&server.CertFile, "tls-relay-server-cert-file", "", "`FILE` with the relay's certificate for clients, PEM")
	f.StringVar(&server.KeyFile, "tls-relay-server-key-file", "", "`FILE` with its key, PEM")
	f.StringVar(&server.CAFile, "tls-relay-client-ca-file", "", "`FILE` with the authority of clients' certificates, PEM; empty: they need none")
	f.BoolVar(&plainServer, "disable-server-tls", false, "serve clients without TLS")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	if f.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q: flags only, such as --peer-service hubble-peer:443", f.Arg(0))
	}
	if c.Metrics != "" {
		if _, port, err := net.SplitHostPort(c.Metrics); err != nil || port == "" {
			return c, fmt.Errorf("--metrics-address %q is not an address with a port: write :9966, or leave it out", c.Metrics)
		}
	}
	c.Relay.Plain = plainClient
	c.Relay.PeerServerName = "hubble-peer." + strings.ReplaceAll(cluster, ".", "-") + ".hubble-grpc.cilium.io"
	local := strings.HasPrefix(c.Relay.PeerService, "unix:")
	switch {
	case !plainClient && client.CAFile == "" && !local:
		return c, errors.New("--tls-hubble-server-ca-file is empty: name the authority of agents' certificates, or say --disable-client-tls")
	case !plainServer && server.CertFile == "":
		return c, errors.New("--tls-relay-server-cert-file is empty: name the relay's certificate for clients, or say --disable-server-tls")
	}
	if !plainClient && client.CAFile != "" {
		c.Relay.Certificates = &client
	}
	if !plainServer {
		c.Certs = &server
	}
	for _, certs := range []*wire.Certificates{c.Relay.Certificates, c.Certs} {
		if certs == nil {
			continue
		}
		if err := certs.Check(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Run serves until ctx ends.
func Run(ctx context.Context, log *slog.Logger, c Config) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	r := relay.New(log, c.Relay)
	m := newMeasures(r)
	s := wire.Server(c.Certs, m.interceptors()...)
	r.Register(s)
	m.requests.InitializeMetrics(s)
	g := run.New(ctx)
	g.Go("peers", r.Run)
	g.Go("clients", func(ctx context.Context) error {
		defer context.AfterFunc(ctx, s.Stop)()
		if err := s.Serve(wire.Limit(l)); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	if c.Health != "" {
		g.Go("health", func(ctx context.Context) error { return answerProbes(ctx, c.Health, r) })
	}
	if c.Metrics != "" {
		g.Go("metrics", metrics.NewServerAt(log, "--metrics-address", c.Metrics, m.registry).Run)
	}
	if c.Page != "" {
		g.Go("page", func(ctx context.Context) error { return servePage(ctx, c, r) })
	}
	return g.Wait()
}

// answerProbes says whether the relay is alive, and whether it knows the agents.
func answerProbes(ctx context.Context, address string, r *relay.Relay) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for probes: %w", err)
	}
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	m.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !r.Ready() {
			http.Error(w, "no agent has told where all are", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return serve(ctx, l, &http.Server{Handler: m, ReadHeaderTimeout: 5 * time.Second})
}

// servePage gives browsers the page. What streams sets its own time to write.
func servePage(ctx context.Context, c Config, r *relay.Relay) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Page)
	if err != nil {
		return fmt.Errorf("listen for browsers: %w", err)
	}
	return serve(ctx, wire.Limit(l), &http.Server{Handler: page.Handler(r, c.Hosts), ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10})
}

func serve(ctx context.Context, l net.Listener, s *http.Server) error {
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
