package healthcheck

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"weir/internal/reconcile"
	"weir/state"
)

// Options is this slice's configuration.
type Options struct {
	Healthz    string         // address and port of /healthz and /livez; empty: nowhere
	Addresses  []netip.Prefix // within which addresses of this node services are asked for; none: all
	IPv4, IPv6 bool           // families that are on
	Proxy      func() Proxy   // how services do
}

// Control keeps the sockets in step with the tables.
type Control struct {
	log    *slog.Logger
	opts   Options
	tables *state.Tables
	opener opener

	mu     sync.Mutex
	checks map[uint16]*check
	leaves bool
	status Status
}

// Status is what is open and what is not.
type Status struct {
	Healthz  string // where it is asked for; empty: it is switched off
	Open     int    // ports of services
	Problems []Problem
	Node     string // why /healthz is not answered; empty: it is
}

// New returns a Control that has nothing open yet.
func New(log *slog.Logger, o Options, t *state.Tables) *Control {
	c := &Control{log: log, opts: o, tables: t, status: Status{Healthz: o.Healthz}}
	c.opener = opener{log: log, handler: c.handler, open: map[place]*http.Server{}}
	return c
}

// Run reconciles until ctx ends, and closes what is open then.
func (c *Control) Run(ctx context.Context) error {
	defer c.opener.close()
	return reconcile.Loop(ctx, c.log, c.Step, c.tables.Services, c.tables.Slices, c.tables.Nodes, c.tables.Devices)
}

// Step opens what the tables ask for. Its error names what could not be opened; all
// else is in force.
func (c *Control) Step(context.Context) error {
	services := slices.Collect(c.services())
	node, addrs := c.look()
	c.mu.Lock()
	owners := map[uint16]state.ServiceName{}
	for port, x := range c.checks {
		owners[port] = x.service
	}
	c.mu.Unlock()
	checks, problems := wanted(services, owners)
	if len(checks) > 0 {
		count(checks, services, c.slices(), node.Name)
	}
	places := placesOf(checks, c.opts, addrs)
	c.mu.Lock()
	c.checks, c.leaves = checks, node.Leaves != ""
	c.mu.Unlock()
	failed := c.opener.set(places) // its handlers take the lock
	status, err := c.report(checks, problems, failed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
	return err
}

// services are those with a port to ask at.
func (c *Control) services() func(func(state.Service) bool) {
	return func(yield func(state.Service) bool) {
		for _, s := range c.tables.Services.All() {
			if s.HealthPort != 0 && !yield(s) {
				return
			}
		}
	}
}

func (c *Control) slices() (out []state.Slice) {
	for _, s := range c.tables.Slices.All() {
		out = append(out, s)
	}
	return out
}

// look returns this node, and its addresses at which services are asked for.
func (c *Control) look() (local state.Node, addrs []netip.Addr) {
	for _, n := range c.tables.Nodes.All() {
		if n.Local {
			local, addrs = n, slices.Clone(n.Addresses)
		}
	}
	for _, d := range c.tables.Devices.All() {
		for _, p := range d.Addrs {
			addrs = append(addrs, p.Addr())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return local, slices.DeleteFunc(slices.Compact(addrs), func(a netip.Addr) bool {
		return !slices.ContainsFunc(c.opts.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
	})
}

// report says in words what is not open.
func (c *Control) report(checks map[uint16]*check, problems []Problem, failed map[place]error) (Status, error) {
	out := Status{Healthz: c.opts.Healthz, Open: len(checks), Problems: problems}
	shut := map[uint16]bool{}
	var errs []error
	for p, err := range failed {
		if errors.Is(err, syscall.EADDRINUSE) {
			err = inUse{err, p}
		}
		errs = append(errs, err)
		if p.port == 0 {
			out.Node = err.Error()
			continue
		}
		shut[p.port] = true
		out.Problems = append(out.Problems, Problem{checks[p.port].service, err.Error() + ": load balancers do not learn there whether this node serves it"})
	}
	out.Open -= len(shut)
	slices.SortFunc(out.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Service.String(), b.Service.String()), cmp.Compare(a.Text, b.Text))
	})
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return out, errors.Join(errs...)
}

// inUse says what to do about a port that somebody else has.
type inUse struct {
	error
	place place
}

func (e inUse) Unwrap() error { return e.error }

func (e inUse) Error() string {
	if e.place.port == 0 {
		return e.error.Error() + " (does a kube-proxy run beside the agent? Stop it, or set kubeProxyReplacementHealthzBindAddr)"
	}
	return e.error.Error() + " (stop what has the port on this node, or give the service another healthCheckNodePort)"
}

// Status returns what is open and what is not, as of the last step.
func (c *Control) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// handler answers at a place for as long as it is open.
func (c *Control) handler(p place) http.Handler {
	mux := http.NewServeMux()
	if p.port == 0 {
		mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
			c.mu.Lock()
			leaves := c.leaves
			c.mu.Unlock()
			answerHealthz(w, leaves, c.opts.Proxy(), time.Now())
		})
		mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { answerLivez(w, c.opts.Proxy(), time.Now()) })
		return mux
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		x := check{}
		if now := c.checks[p.port]; now != nil {
			x = *now
		}
		c.mu.Unlock()
		if p.is6 {
			x.local = x.local6
		}
		answerService(w, x.service, x.local, c.opts.Proxy(), time.Now())
	})
	return mux
}
