package lab

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
)

const (
	defaultLabName = "lab"
	maxLabName     = 24  // keeps the agent's socket path below the kernel's 108 bytes
	maxNodeName    = 40  // likewise
	maxNetnsName   = 255 // a file name in /run/netns
	// Letters and digits that cannot be read as one another or make words, as
	// Kubernetes uses for the names it generates.
	safeLetters = "bcdfghjklmnpqrstvwxz2456789"
)

var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// checkName says whether a name can stand in a namespace's and a folder's name.
func checkName(what, name string, limit int) error {
	if len(name) > limit {
		return fmt.Errorf("%s %q has %d characters; at most %d are possible", what, name, len(name), limit)
	}
	if !label.MatchString(name) {
		return fmt.Errorf("%s %q: use lower case letters, digits and '-', as in a host name", what, name)
	}
	return nil
}

// netnsName is the name in /run/netns of a node, the world or the underlay.
func netnsName(lab, member string) string { return "weir-" + lab + "-" + member }

// podNetns names the namespace of a pod. taken tells which names the lab uses
// for something else already: pod a-b/c and pod a/b-c would share one.
func podNetns(lab, namespace, pod string, taken func(string) bool) string {
	name := netnsName(lab, namespace+"-"+pod)
	if len(name) <= maxNetnsName && !taken(name) {
		return name
	}
	sum := "-" + suffix(8, lab, namespace, pod)
	return name[:min(len(name), maxNetnsName-len(sum))] + sum
}

// suffix makes n letters out of what they shall depend on, as the random part
// of a name that Kubernetes generates, but the same each time.
func suffix(n int, parts ...string) string {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(parts, "\x00")))
	sum := h.Sum64()
	out := make([]byte, n)
	for i := range out {
		out[i] = safeLetters[sum%uint64(len(safeLetters))]
		sum = sum/uint64(len(safeLetters)) ^ sum<<17
	}
	return string(out)
}
