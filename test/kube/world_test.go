package kube

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/vishvananda/netns"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"weir/lab/kube"
)

// inside runs f on a thread that is in the network namespace of a node or the world.
// Sockets that it opens belong there.
func inside(l *kube.Lab, where string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		ns, err := netns.GetFromPath(filepath.Join("/run/netns", "weir-"+l.Name()+"-"+where))
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err != nil {
			done <- fmt.Errorf("enter %s of lab %s: %w", where, l.Name(), err)
			return
		}
		done <- f()
	}()
	return <-done
}

// dial connects from the world to an address.
func dial(ctx context.Context, l *kube.Lab, network, address string) (conn net.Conn, err error) {
	err = inside(l, kube.World, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// clientOf asks the API server from the world, as the administrator.
func clientOf(l *kube.Lab) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", l.Name(), err)
	}
	config.QPS, config.Burst = 100, 200
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, l, network, address)
	}
	return kubernetes.NewForConfig(config)
}

// answers says whether a node's health check of a service answers with 200.
func answers(ctx context.Context, l *kube.Lab, node string, port int32) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := dial(ctx, l, "tcp", net.JoinHostPort(node, strconv.Itoa(int(port))))
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return false
	}
	if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", node); err != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
