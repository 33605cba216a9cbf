package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// servers are images that stand for the built-in HTTP server, whatever their
// arguments are.
var servers = regexp.MustCompile(`nettool|httpbin|nginx|echo`)

// startContainers starts a process for each container, all in the one
// namespace of the pod. A container that cannot be started does not keep the
// others, nor the pod's network.
func (r *record) startContainers(p *Pod) error {
	var errs []error
	p.Containers = nil
	for _, c := range p.Object.Spec.Containers {
		out := Container{Name: c.Name, Log: r.path("logs", p.Namespace+"_"+p.Name+"_"+c.Name+".log")}
		var err error
		if out.Process, err = r.startContainer(p, c, out.Log); err != nil {
			out.Error = err.Error()
			errs = append(errs, fmt.Errorf("container %s: %w", c.Name, err))
		}
		p.Containers = append(p.Containers, out)
	}
	return errors.Join(errs...)
}

func (r *record) startContainer(p *Pod, c corev1.Container, log string) (Process, error) {
	l := launch{netns: netnsPath(p.Netns), group: r.node(p.Node).group(podGroup(*p)), argv: command(c), env: environment(p, c), log: log}
	if l.argv == nil {
		var err error
		l.files, err = listeners(l.netns, port(c))
		if err != nil {
			return Process{}, err
		}
		for _, f := range l.files {
			defer f.Close()
		}
		l.argv = []string{filepath.Join(r.Bin, "weir"), "lab", "serve", "--inherit", fmt.Sprint(len(l.files))}
	}
	proc, err := l.start()
	if errors.Is(err, os.ErrNotExist) || isNotFound(err) {
		return proc, fmt.Errorf("command %q is not on this host (the lab runs the host's programs, not those of images): %w", l.argv[0], err)
	}
	return proc, err
}

func isNotFound(err error) bool {
	return err != nil && strings.Contains(err.Error(), "executable file not found")
}

// command returns what the container runs, or nil for the built-in server.
func command(c corev1.Container) []string {
	if len(c.Command) > 0 {
		return append(append([]string(nil), c.Command...), c.Args...)
	}
	if len(c.Args) > 0 && !servers.MatchString(c.Image) {
		return c.Args
	}
	return nil
}

// port is where the built-in server listens.
func port(c corev1.Container) int {
	if len(c.Ports) > 0 && c.Ports[0].ContainerPort > 0 {
		return int(c.Ports[0].ContainerPort)
	}
	return 80
}

// environment says who the pod is, beside what the container itself sets.
func environment(p *Pod, c corev1.Container) []string {
	out := []string{"POD_NAME=" + p.Name, "POD_NAMESPACE=" + p.Namespace, "NODE_NAME=" + p.Node, "POD_IPS=" + joined(p.IPs)}
	if len(p.IPs) > 0 {
		out = append(out, "POD_IP="+p.IPs[0].String())
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			out = append(out, e.Name+"="+e.Value)
		}
	}
	return out
}

// listeners opens the server's sockets before it runs, so that a pod answers
// from the moment it is reported, and a port in use is reported at once.
func listeners(ns string, port int) ([]*os.File, error) {
	var out []*os.File
	err := inside(ns, func() error {
		for _, network := range []string{"tcp4", "tcp6"} {
			var lc net.ListenConfig
			lc.SetMultipathTCP(false) // a socket map does not take MPTCP sockets
			l, err := lc.Listen(context.Background(), network, fmt.Sprintf(":%d", port))
			if err != nil && network == "tcp6" && len(out) > 0 && !strings.Contains(err.Error(), "in use") {
				return nil // a kernel without IPv6
			}
			if err != nil {
				return fmt.Errorf("listen on port %d: %w", port, err)
			}
			f, err := l.(*net.TCPListener).File()
			l.Close()
			if err != nil {
				return fmt.Errorf("hand over port %d: %w", port, err)
			}
			out = append(out, f)
		}
		return nil
	})
	if err != nil {
		for _, f := range out {
			f.Close()
		}
		return nil, err
	}
	return out, nil
}

func joined[T fmt.Stringer](xs []T) string {
	var out []string
	for _, a := range xs {
		out = append(out, a.String())
	}
	return strings.Join(out, ",")
}
