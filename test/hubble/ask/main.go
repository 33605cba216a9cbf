// Command ask asks a server of flows all that Hubble's clients ask, with upstream's types
// and over a real connection, and fails where an answer is not what such a client needs.
// test/kube runs it in a pod, against agents and the relay of a cluster in which a pod
// sends all the time; without a server it has nothing to say.
//
// Where to ask is said as Hubble's own client is told: HUBBLE_SERVER is HOST:PORT, with
// HUBBLE_TLS_CA_CERT_FILES (without it there is no TLS), HUBBLE_TLS_CLIENT_CERT_FILE,
// HUBBLE_TLS_CLIENT_KEY_FILE and HUBBLE_TLS_SERVER_NAME.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// patience is how long one request may take, follow the longest.
const patience = 20 * time.Second

func main() {
	var w want
	flag.StringVar(&w.pod, "pod", "", "`NAMESPACE/NAME` that connects to port 80, and to port 81, which a policy denies at the other end")
	list(&w.tell, "tell", "`NODE,...` that tell flows of it; the last is where the other end is")
	list(&w.nodes, "nodes", "`NODE,...` that the server has to name")
	list(&w.peers, "peers", "`NODE,...` that the server has to name as peers; none: it is not asked for peers")
	flag.Parse()
	if err := run(w); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func list(to *[]string, name, help string) {
	flag.Func(name, help, func(s string) error { *to = strings.Split(s, ","); return nil })
}

func run(w want) error {
	server := os.Getenv("HUBBLE_SERVER")
	if server == "" || w.pod == "" || len(w.tell) == 0 || len(w.nodes) == 0 {
		return errors.New("ask: HUBBLE_SERVER, -pod, -tell or -nodes is missing")
	}
	creds, err := certificates()
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	a := asker{conn: conn, observer: observer.NewObserverClient(conn), want: w}
	var errs []error
	for _, c := range a.checks() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		said, err := c.ask(ctx)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", c.name, server, err))
			continue
		}
		fmt.Printf("%s: %s\n", c.name, said)
	}
	return errors.Join(errs...)
}

// certificates are those that the environment names.
func certificates() (credentials.TransportCredentials, error) {
	ca := os.Getenv("HUBBLE_TLS_CA_CERT_FILES")
	if ca == "" {
		return insecure.NewCredentials(), nil
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: os.Getenv("HUBBLE_TLS_SERVER_NAME"), RootCAs: x509.NewCertPool()}
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no certificate in it", ca)
	}
	if file := os.Getenv("HUBBLE_TLS_CLIENT_CERT_FILE"); file != "" {
		pair, err := tls.LoadX509KeyPair(file, os.Getenv("HUBBLE_TLS_CLIENT_KEY_FILE"))
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(c), nil
}
