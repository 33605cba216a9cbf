// Command gen writes the Go types of everything that layout.h defines, out of
// the BTF of an object that names every type (layout.c in this folder).
//
// Usage: gen layout.o > layout_gen.go
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// initialisms are words that Go writes in capitals.
var initialisms = map[string]string{
	"id": "ID", "ip": "IP", "ipv4": "IPv4", "ipv6": "IPv6", "mac": "MAC", "mtu": "MTU", "cidr": "CIDR",
	"vlan": "VLAN", "ttl": "TTL", "arp": "ARP", "ndp": "NDP", "fib": "FIB", "l2": "L2", "l3": "L3", "ipcache": "IPCache",
	"ct": "CT", "nat": "NAT", "dsr": "DSR", "nodeport": "NodePort", "tcp": "TCP", "udp": "UDP", "icmp": "ICMP", "xdp": "XDP", "dns": "DNS",
}

func goName(c string) string {
	var b strings.Builder
	for _, w := range strings.Split(strings.ToLower(c), "_") {
		if s, ok := initialisms[w]; ok {
			b.WriteString(s)
		} else if w != "" {
			b.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
	}
	return b.String()
}

func generate(object string) ([]byte, error) {
	spec, err := btf.LoadSpec(object)
	if err != nil {
		return nil, fmt.Errorf("read BTF: %w", err)
	}
	names := map[btf.Type]string{}
	var types []btf.Type
	for t, err := range spec.All() {
		if err != nil {
			return nil, fmt.Errorf("walk BTF: %w", err)
		}
		switch t.(type) {
		case *btf.Struct, *btf.Enum:
			if n := t.TypeName(); n != "" && n != "everything" {
				names[t] = goName(n)
				types = append(types, t)
			}
		}
	}
	slices.SortFunc(types, func(a, b btf.Type) int { return strings.Compare(names[a], names[b]) })
	formatter := btf.GoFormatter{
		Names:          names,
		Identifier:     goName,
		EnumIdentifier: func(_, element string) string { return goName(element) },
	}
	var out bytes.Buffer
	out.WriteString("// Code generated from layout.h by bpf/gen. DO NOT EDIT.\n\npackage bpf\n\nimport \"structs\"\n")
	for _, t := range types {
		decl, err := formatter.TypeDeclaration(names[t], t)
		if err != nil {
			return nil, fmt.Errorf("declare %s: %w", names[t], err)
		}
		fmt.Fprintf(&out, "\n// %s is %s of layout.h.\n%s\n", names[t], kind(t), decl)
	}
	return format.Source(out.Bytes())
}

func kind(t btf.Type) string {
	if _, ok := t.(*btf.Enum); ok {
		return "enum " + t.TypeName()
	}
	return "struct " + t.TypeName()
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: gen layout.o")
	}
	src, err := generate(os.Args[1])
	if err != nil {
		log.Fatalf("gen: %v", err)
	}
	os.Stdout.Write(src)
}
