//go:build ignore

// Command single is a cluster's programs in one process, as k3s and k0s have them:
// Kubernetes' own, kine with SQLite in place of etcd, and containerd as its child.
//
//	single PART ARGUMENT... [-- PART ARGUMENT...]...
//
// Parts start in the order given, each when the one before it is ready. The arguments of
// upstream's parts are their own. When one ends, all do.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	kine "github.com/k3s-io/kine/pkg/server"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	kubeletoptions "k8s.io/kubernetes/cmd/kubelet/app/options"
	"k8s.io/kubernetes/pkg/kubelet/kubeletconfig/configfiles"
	utilfs "k8s.io/kubernetes/pkg/util/filesystem"
)

// part is what one of the programs would be by itself, with its arguments read.
type part struct {
	name  string
	run   func(context.Context) error // until it ends
	ready func() error                // nil: at once
}

var parts = map[string]func(args []string) (part, error){
	"kine":                    kinePart,
	"kube-apiserver":          apiserverPart,
	"kube-controller-manager": controllersPart,
	"kube-scheduler":          schedulerPart,
	"containerd":              containerdPart,
	"forward":                 forwardPart,
	"kubelet":                 kubeletPart,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := start(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "single:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, args []string) error {
	all, err := read(args)
	if err != nil {
		return err
	}
	// Feature gates are the process's: they count once everybody's flags are read.
	if err := compatibility.DefaultComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("feature gates: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(all))
	for _, p := range all {
		klog.InfoS("Starting", "part", p.name)
		go func() {
			ended <- fmt.Errorf("%s ended: %w", p.name, cmp.Or(p.run(ctx), errors.New("without an error")))
		}()
		for p.ready != nil && p.ready() != nil {
			select {
			case err := <-ended:
				return err
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return <-ended
}

// read makes parts of the command line.
func read(args []string) ([]part, error) {
	var groups [][]string
	for len(args) > 0 {
		end := slices.Index(args, "--")
		if end < 0 {
			end = len(args)
		}
		groups = append(groups, args[:end])
		args = args[min(end+1, len(args)):]
	}
	all := make([]part, len(groups))
	// The controller manager changes a feature gate's default, which is refused once anybody
	// else's flags are there.
	for _, isFirst := range []bool{true, false} {
		for i, g := range groups {
			if len(g) == 0 || parts[g[0]] == nil {
				return nil, fmt.Errorf("there is no part %q", g)
			}
			if (g[0] == "kube-controller-manager") != isFirst {
				continue
			}
			p, err := parts[g[0]](g[1:])
			if err != nil {
				return nil, fmt.Errorf("arguments of %s: %w", g[0], err)
			}
			p.name = g[0]
			all[i] = p
		}
	}
	return all, nil
}

// parse reads flags of one of Kubernetes' programs.
func parse(sets cliflag.NamedFlagSets, args []string) error {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range sets.FlagSets {
		fs.AddFlagSet(set)
	}
	return fs.Parse(args)
}

// exactly wants as many arguments as there are names.
func exactly(args []string, names ...string) error {
	if len(args) != len(names) {
		return fmt.Errorf("want %q, got %q", names, args)
	}
	return nil
}

// kinePart answers as etcd does, out of an SQLite file.
func kinePart(args []string) (part, error) {
	if err := exactly(args, "SOCKET", "DATABASE"); err != nil {
		return part{}, err
	}
	socket, database := args[0], args[1]
	run := func(ctx context.Context) error {
		var wg sync.WaitGroup
		// As the program kine has it by default.
		_, backend, err := sqlite.New(ctx, &wg, &drivers.Config{DataSourceName: database + "?" + sqlite.DefaultParams,
			CompactTimeout: 5 * time.Second, CompactMinRetain: 1000, CompactBatchSize: 1000, PollBatchSize: 500})
		if err != nil {
			return err
		}
		if err := backend.Start(ctx); err != nil {
			return err
		}
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l, err := net.Listen("unix", socket)
		if err != nil {
			return err
		}
		// As etcd has them: who asks more often than it allows is hung up on.
		server := grpc.NewServer(
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
			grpc.MaxRecvMsgSize(2<<20), grpc.MaxSendMsgSize(math.MaxInt32))
		kine.New(backend, "unix", 5*time.Second, "3.6.11").Register(server)
		return server.Serve(l)
	}
	return part{run: run, ready: func() error { return listens(socket) }}, errors.Join(makeParents(socket, database)...)
}

func makeParents(files ...string) (errs []error) {
	for _, f := range files {
		errs = append(errs, os.MkdirAll(filepath.Dir(f), 0o700))
	}
	return errs
}

func listens(socket string) error {
	c, err := net.Dial("unix", socket)
	if err == nil {
		c.Close()
	}
	return err
}

func apiserverPart(args []string) (part, error) {
	o := apiserveroptions.NewServerRunOptions()
	err := parse(o.Flags(), args)
	run := func(ctx context.Context) error {
		completed, err := o.Complete(ctx)
		if err != nil {
			return err
		}
		if errs := completed.Validate(); len(errs) > 0 {
			return errors.Join(errs...)
		}
		return apiserver.Run(ctx, completed)
	}
	return part{run: run, ready: func() error { return answers(o.SecureServing.BindPort) }}, err
}

// answers asks this process itself, so that no certificate has to prove who that is.
func answers(port int) error {
	c := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	r, err := c.Get(fmt.Sprintf("https://localhost:%d/readyz", port))
	if err != nil {
		return err
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return errors.New(r.Status)
	}
	return nil
}

func controllersPart(args []string) (part, error) {
	o, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return part{}, err
	}
	known, disabled, aliases := controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases()
	err = parse(o.Flags(known, disabled, aliases), args)
	return part{run: func(ctx context.Context) error {
		c, err := o.Config(ctx, known, disabled, aliases)
		if err != nil {
			return err
		}
		return controllers.Run(ctx, c.Complete())
	}}, err
}

func schedulerPart(args []string) (part, error) {
	o := scheduleroptions.NewOptions()
	err := parse(*o.Flags, args)
	return part{run: func(ctx context.Context) error {
		c, s, err := scheduler.Setup(ctx, o)
		if err != nil {
			return err
		}
		return scheduler.Run(ctx, c, s)
	}}, err
}

// containerdPart has a process of its own, which ends with this one whatever ends it. Pods
// go on: their parents are shims.
func containerdPart(args []string) (part, error) {
	if len(args) < 1 {
		return part{}, exactly(args, "SOCKET", "ARGUMENT...")
	}
	socket := args[0]
	run := func(ctx context.Context) error {
		c := exec.CommandContext(ctx, "containerd", args[1:]...)
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // whose death is the parent's for the kernel
		defer runtime.UnlockOSThread()
		return c.Run()
	}
	return part{run: run, ready: func() error { return isRuntime(socket) }}, nil
}

// isRuntime asks what a kubelet asks first, and does not ask again: it listens before it
// knows its pods.
func isRuntime(socket string) error {
	c, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_, err = cri.NewRuntimeServiceClient(c).Version(ctx, &cri.VersionRequest{})
	return err
}

// forwardPart is where an agent's kubelet, and whoever reads its kubeconfig, finds the API
// server: on the node itself, whichever node the server is on.
func forwardPart(args []string) (part, error) {
	if err := exactly(args, "LISTEN", "SERVER"); err != nil {
		return part{}, err
	}
	l, err := net.Listen("tcp", args[0])
	return part{run: func(context.Context) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			go forward(c, args[1])
		}
	}}, err
}

func forward(from net.Conn, server string) {
	defer from.Close()
	to, err := net.DialTimeout("tcp", server, 10*time.Second)
	if err != nil {
		klog.ErrorS(err, "The API server cannot be reached", "server", server)
		return
	}
	defer to.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() { io.Copy(way[0], way[1]); ended <- struct{}{} }()
	}
	<-ended
}

func kubeletPart(args []string) (part, error) {
	flags := kubeletoptions.NewKubeletFlags()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	flags.AddFlags(fs)
	err := fs.Parse(args)
	return part{run: func(ctx context.Context) error {
		loader, err := configfiles.NewFsLoader(&utilfs.DefaultFs{}, flags.KubeletConfigFile)
		if err != nil {
			return err
		}
		config, err := loader.Load(ctx)
		if err != nil {
			return err
		}
		server := &kubeletoptions.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *config}
		deps, err := kubelet.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
		if err != nil {
			return err
		}
		return kubelet.Run(ctx, server, deps, utilfeature.DefaultFeatureGate)
	}}, err
}
