// Package ipmasq reads the rules of ip-masq-agent: where pods keep their own
// address although they leave the cluster.
package ipmasq

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"

	"go.yaml.in/yaml/v3"
)

// rules are a file of ip-masq-agent's format, YAML or JSON:
// https://github.com/kubernetes-sigs/ip-masq-agent.
type rules struct {
	CIDRs         *[]string `yaml:"nonMasqueradeCIDRs"` // nil: the usual ones
	LinkLocal     bool      `yaml:"masqLinkLocal"`      // 169.254.0.0/16 is masqueraded, too
	LinkLocalIPv6 bool      `yaml:"masqLinkLocalIPv6"`  // and fe80::/10
	Resync        string    `yaml:"resyncInterval"`     // the file is read every few seconds anyway

	prefixes []netip.Prefix
}

// usual are what a file without nonMasqueradeCIDRs says: networks that are
// nobody's on the Internet (RFC 6890).
var usual = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4")

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

var linkLocal, linkLocalIPv6 = netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")

// Read returns the prefixes within which the file says that nothing is
// masqueraded. One that does not exist is an empty one.
func Read(file string) ([]netip.Prefix, error) {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read ipMasqAgent.configFile: %w", err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("ipMasqAgent.configFile %s is not in force, the rules before it are: %w", file, err)
	}
	return r.exempt(), nil
}

func parse(b []byte) (rules, error) {
	r := rules{prefixes: usual}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil && !errors.Is(err, io.EOF) {
		return r, err
	}
	if r.CIDRs == nil {
		return r, nil
	}
	r.prefixes = nil
	for i, text := range *r.CIDRs {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			return r, fmt.Errorf("nonMasqueradeCIDRs[%d]: %q is not a CIDR such as 10.0.0.0/8 or fd00::/8", i, text)
		case p != p.Masked():
			return r, fmt.Errorf("nonMasqueradeCIDRs[%d]: %s has host bits set: write %s", i, p, p.Masked())
		}
		r.prefixes = append(r.prefixes, p)
	}
	return r, nil
}

// exempt are the prefixes that are not masqueraded.
func (r rules) exempt() []netip.Prefix {
	out := append([]netip.Prefix{}, r.prefixes...)
	if !r.LinkLocal {
		out = append(out, linkLocal)
	}
	if !r.LinkLocalIPv6 {
		out = append(out, linkLocalIPv6)
	}
	return out
}
