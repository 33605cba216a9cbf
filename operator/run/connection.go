package run

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"weir/source/kube/connect"
)

// connection is that of the kubeconfig that the configuration names. Without one it is
// whichever server is found, as agents find theirs: the operator of a new cluster is there
// before an agent has written where the server is, and then waits for that.
func connection(log *slog.Logger, kubeconfig string, o connect.Options) (*connect.Conn, *rest.Config, error) {
	if kubeconfig != "" {
		rc, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, nil, fmt.Errorf("kubeconfig %s: %w: correct the key, or leave it out to have the server found", kubeconfig, err)
		}
		return nil, rc, nil
	}
	o.KubeconfigKey = "kubeconfig"
	conn := connect.New(log, o)
	return conn, &rest.Config{Host: "http://cluster", Transport: conn}, nil
}

// connected looks after the connection until the function that it returns is called: it
// has to outlive ctx, with whose end the lease is given up.
func (o *Operator) connected(ctx context.Context) (end func()) {
	if o.conn == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.conn.Run(ctx); err != nil {
			o.log.Error("nobody looks for API servers any more", "err", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
