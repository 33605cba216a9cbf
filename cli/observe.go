package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"weir/api/observer"
	"weir/api/wire"
)

// flowsShown is how many flows there are when nothing says how many.
const flowsShown = 20

// flowSocket is where an agent serves flows, beside its own socket.
const flowSocket = "hubble.sock"

// sight is what `weir observe` was asked to show.
type sight struct {
	flowServer
	filters      flowFilters
	last, first  uint64
	all, follow  bool
	since, until string
	print        flowPrinter
}

func observeCommand(env *Env) *cobra.Command {
	s := &sight{}
	c := &cobra.Command{Use: "observe", Short: "Show flows: which packets went where, between whom, and what policies said", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return observe(c.Context(), env, s) }}
	described(c, observeHelp, observeExamples)
	f := c.Flags()
	f.BoolVarP(&s.follow, "follow", "f", false, "go on with those that come, until interrupted")
	f.Uint64Var(&s.last, "last", 0, "how many of the latest to show; 20 unless a time, --all or --follow is given")
	f.Uint64Var(&s.first, "first", 0, "how many of the earliest to show")
	f.BoolVar(&s.all, "all", false, "all that are kept")
	f.StringVar(&s.since, "since", "", "from this time on: 5m (ago), 2006-01-02, 2006-01-02T15:04:05Z")
	f.StringVar(&s.until, "until", "", "up to this time, likewise")
	f.BoolVar(&s.print.nodes, "print-node-name", false, "name the node that tells")
	f.BoolVar(&s.print.policies, "print-policy-names", false, "name the policies behind a verdict")
	f.BoolVar(&s.print.numeric, "numeric", false, "addresses in place of names")
	translate := f.VarPF(flagValue{"bool", func(text string) error {
		on, err := strconv.ParseBool(text)
		s.print.numeric = !on
		return err
	}}, "ip-translation", "", "names in place of addresses, as is usual; =false is --numeric")
	translate.NoOptDefVal, translate.DefValue = "true", "true"
	s.filters.flags(f)
	s.flowServer.flags(c)
	c.AddCommand(observeStatusCommand(env, &s.flowServer), observeNodesCommand(env, &s.flowServer), observeNamespacesCommand(env, &s.flowServer))
	return c
}

const observeHelp = `Show flows, of this node or, with --server, of the cluster by its relay. A flow is what a
program says of a packet: that it was let on and where to, that it was dropped and why, or
what a policy said of its connection, and which.

Filters: of one flag the values are alternatives; different flags must all be met. --not
turns the flag after it round. A pod or service is NAMESPACE/NAME, of which the end may be
missing; NAMESPACE/ is all of it, /NAME any namespace, NAME the namespace default.

-o compact (the default), tab, dict, or json and jsonpb, which are one line for each flow.`

const observeExamples = `  weir observe
  weir observe --follow --pod default/web
  weir observe --verdict DROPPED --since 5m -o json
  weir observe --from-pod default/client --to-port 80 --protocol tcp
  weir observe --to-fqdn '*.example.org'
  weir observe --type l7 --protocol dns
  weir observe --not --namespace kube-system --print-policy-names
  weir observe --server hubble-relay.kube-system:80 --namespace shop`

// flowServer is where flows are read from.
type flowServer struct {
	address, serverName string
	tls                 bool
	certs               wire.Certificates
}

func (s *flowServer) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&s.address, "server", os.Getenv("HUBBLE_SERVER"), "HOST:PORT or unix:///PATH that serves flows: the relay (environment: HUBBLE_SERVER); else this node's agent")
	f.BoolVar(&s.tls, "tls", false, "the server has TLS; a flag with a file says so, too")
	f.StringVar(&s.certs.CAFile, "tls-ca-cert-files", "", "file with the authority of the server's certificate, PEM")
	f.StringVar(&s.certs.CertFile, "tls-client-cert-file", "", "certificate of this client, PEM")
	f.StringVar(&s.certs.KeyFile, "tls-client-key-file", "", "key of that certificate, PEM")
	f.StringVar(&s.serverName, "tls-server-name", "", "name in the server's certificate, where it is not the server's host")
}

// connect returns a connection, which is made when it is first used, and its address.
func (s *flowServer) connect(env *Env) (*grpc.ClientConn, string, error) {
	address := s.address
	if address == "" {
		address = "unix://" + filepath.Join(filepath.Dir(env.Socket), flowSocket)
	}
	var certs *wire.Certificates
	if s.tls || s.certs.CAFile != "" || s.certs.CertFile != "" {
		certs = &s.certs
		if err := certs.Check(); err != nil {
			return nil, "", usage{err}
		}
	}
	address = strings.TrimPrefix(address, "tcp://")
	c, err := wire.Dial(address, certs, s.serverName)
	return c, address, err
}

// refused is an error of a server as people should read it.
func refused(address string, err error) error {
	said := grpcstatus.Convert(err)
	switch said.Code() {
	case codes.Unavailable:
		if path, ok := strings.CutPrefix(address, "unix://"); ok {
			return fmt.Errorf("no agent serves flows at %s: %s: is weir-agent running, and hubble.enabled true?", path, said.Message())
		}
		return fmt.Errorf("nobody serves flows at %s: %s: see --server and the --tls flags", address, said.Message())
	case codes.InvalidArgument:
		return usage{errors.New(said.Message())}
	}
	return errors.New(said.Message())
}

func observe(ctx context.Context, env *Env, s *sight) error {
	if err := s.print.choose(env); err != nil {
		return err
	}
	q, err := s.request(env.Now())
	if err != nil {
		return usage{err}
	}
	conn, address, err := s.connect(env)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := observer.NewObserverClient(conn).GetFlows(ctx, q)
	if err != nil {
		return refused(address, err)
	}
	for {
		reply, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return s.print.finish()
		case err != nil:
			return errors.Join(refused(address, err), s.print.finish())
		}
		if err := s.print.reply(reply); err != nil {
			return err
		}
	}
}

// request is what the flags ask for.
func (s *sight) request(now time.Time) (*observer.GetFlowsRequest, error) {
	q := &observer.GetFlowsRequest{Follow: s.follow, Number: s.last}
	var err error
	if q.Since, err = parseMoment("--since", s.since, now); err != nil {
		return nil, err
	}
	if q.Until, err = parseMoment("--until", s.until, now); err != nil {
		return nil, err
	}
	switch chosen := slices.DeleteFunc([]string{given("--last", s.last > 0), given("--first", s.first > 0), given("--all", s.all)}, func(x string) bool { return x == "" }); {
	case len(chosen) > 1:
		return nil, fmt.Errorf("%s and %s exclude each other: leave one out", chosen[0], chosen[1])
	case s.first > 0 && s.follow:
		return nil, fmt.Errorf("--first and --follow exclude each other: leave one out")
	case s.first > 0:
		q.Number, q.First = s.first, true
	case len(chosen) == 0 && !s.follow && q.Since == nil && q.Until == nil:
		q.Number = flowsShown
	}
	q.Whitelist, q.Blacklist, err = s.filters.lists()
	return q, err
}

func given(name string, is bool) string {
	if is {
		return name
	}
	return ""
}
