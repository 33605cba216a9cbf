package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

func (f *findings) source(c Config) {
	if c.Source.Files != "" && c.Source.Kubernetes.Enabled {
		f.add("source.files", "%s is set, and source.kubernetes.enabled is true: objects come from one of them; leave source.files out, or set source.kubernetes.enabled to false", c.Source.Files)
	}
	f.within("k8sServicePort", c.K8sServicePort)
	for _, h := range c.K8sServiceHost {
		if _, err := server(h, c.K8sServicePort); err != nil {
			f.add("k8sServiceHost", "%s", err)
		}
	}
}

// aboutSource names settings of the API server that nobody will use.
func aboutSource(c Config) []string {
	var out []string
	if c.Source.Kubernetes.Enabled {
		return nil
	}
	if len(c.K8sServiceHost) > 0 {
		out = append(out, "k8sServiceHost: has no effect without source.kubernetes.enabled")
	}
	if c.Source.Kubernetes.Kubeconfig != "" {
		out = append(out, "source.kubernetes.kubeconfig: has no effect without source.kubernetes.enabled")
	}
	return out
}

// Servers are the API servers of k8sServiceHost as URLs.
func (c Config) Servers() []string {
	var out []string
	for _, h := range c.K8sServiceHost {
		if u, err := server(h, c.K8sServicePort); err == nil { // checked when the configuration was read
			out = append(out, u)
		}
	}
	return out
}

// server makes a URL of what people write for an API server: a name or address,
// with or without a port, or a URL.
func server(text string, port int) (string, error) {
	const want = "write a name or an address such as 192.0.2.10, [2001:db8::10]:6443 or https://api.example.org:6443"
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return "", fmt.Errorf("%q is not the URL of an API server: %s", text, want)
		}
		if u.User != nil { // it would be in logs and in the status
			return "", fmt.Errorf("%q has credentials in it: write them into a file, and its name as source.kubernetes.kubeconfig", u.Redacted())
		}
		return strings.TrimSuffix(u.String(), "/"), nil
	}
	host, said, err := net.SplitHostPort(text)
	if err != nil {
		host, said = strings.Trim(text, "[]"), strconv.Itoa(port)
	}
	n, err := strconv.ParseUint(said, 10, 16)
	_, addr := netip.ParseAddr(host)
	if err != nil || n == 0 || addr != nil && !subdomain.MatchString(strings.ToLower(host)) {
		return "", fmt.Errorf("%q is not an API server: %s", text, want)
	}
	return "https://" + net.JoinHostPort(host, said), nil
}
