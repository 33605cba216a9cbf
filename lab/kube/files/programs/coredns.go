//go:build ignore

// Command coredns is CoreDNS with the plugins a cluster needs and without the
// cloud providers' ones, which would triple its build time.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/debug"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/whoami"
)

// The order of the plugin chain, as in CoreDNS's own plugin.cfg.
func init() {
	dnsserver.Directives = []string{
		"debug", "reload", "bind", "health", "ready", "prometheus", "errors",
		"log", "cache", "loadbalance", "template", "hosts", "kubernetes",
		"forward", "whoami",
	}
}

func main() { coremain.Run() }
