package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Install says what to install Weir from.
type Install struct {
	Image    string            // archive of Weir's image
	Manifest string            // what kubectl applies
	Set      map[string]string // keys of weir.yaml that shall have other values than in the manifest
	Keys     []string          // all that weir.yaml may have, of which the manifest names some
}

// inFamily is the same for a lab of that family, unless Set says otherwise.
func (i Install) inFamily(family string) *Install {
	set := map[string]string{"ipv4.enabled": strconv.FormatBool(family != "ipv6"), "ipv6.enabled": strconv.FormatBool(family != "ipv4")}
	maps.Copy(set, i.Set)
	i.Set = set
	return &i
}

// check names what is missing before minutes are spent.
func (i Install) check() error {
	if _, err := os.Stat(i.Image); err != nil {
		return fmt.Errorf("image of Weir: %w; make it with \"make image\", name another with --image, or use --no-cni", err)
	}
	_, err := i.manifest()
	return err
}

// manifest is the file's text with the values of Set.
func (i Install) manifest() (string, error) {
	data, err := os.ReadFile(i.Manifest)
	if err != nil {
		return "", fmt.Errorf("manifest of Weir: %w; name another with --manifest, or use --no-cni", err)
	}
	text := string(data)
	for _, key := range slices.Sorted(maps.Keys(i.Set)) {
		changed := false
		for _, line := range linesOf(key) {
			changed = changed || line.MatchString(text)
			text = line.ReplaceAllString(text, "${1}"+strings.ReplaceAll(i.Set[key], "$", "$$"))
		}
		if !changed && slices.Contains(i.Keys, key) {
			changed = agentsPart.MatchString(text)
			text = agentsPart.ReplaceAllString(text, "${0}    "+key+": "+strings.ReplaceAll(i.Set[key], "$", "$$")+"\n")
		}
		if !changed {
			return "", fmt.Errorf("--set %s: %s has no such key in its weir.yaml", key, i.Manifest)
		}
	}
	return text, nil
}

// agentsPart is where the agent's part of the manifest begins.
var agentsPart = regexp.MustCompile(`(?m)^  weir\.yaml: \|\n`)

// linesOf matches a key up to its value, as the agent's part of the manifest
// writes it ("ipv6.enabled: true") and as the operator's does ("ipv6: {enabled: true}").
func linesOf(key string) []*regexp.Regexp {
	lines := []*regexp.Regexp{regexp.MustCompile(`(?m)^(    ` + regexp.QuoteMeta(key) + `: ).*$`)}
	if group, name, nested := strings.Cut(key, "."); nested {
		lines = append(lines, regexp.MustCompile(`(?m)^(    `+regexp.QuoteMeta(group)+`: \{(?:.*, )?`+regexp.QuoteMeta(name)+`: )[^,}]*`))
	}
	return lines
}

// configMark is the annotation that makes pods anew when it changes.
var configMark = regexp.MustCompile(`(weir\.dev/config:) .*`)

// text is the manifest with a mark that follows from all that is installed, so
// that another build or another value replaces the pods.
func (i Install) text() (string, error) {
	text, err := i.manifest()
	if err != nil {
		return "", err
	}
	f, err := os.Open(i.Image)
	if err != nil {
		return "", fmt.Errorf("image of Weir: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", i.Image, err)
	}
	io.WriteString(sum, text)
	return configMark.ReplaceAllString(text, `$1 "`+hex.EncodeToString(sum.Sum(nil))[:16]+`"`), nil
}

// Load imports an image archive into the nodes, or into all.
func (l *Lab) Load(ctx context.Context, archive string, nodes ...string) error {
	return l.run(ctx, append([]string{"load", archive}, nodes...)...)
}

// Install loads Weir's image, applies its manifest and waits until it carries
// the cluster.
func (l *Lab) Install(ctx context.Context, from Install) error {
	text, err := from.text()
	if err != nil {
		return err
	}
	fmt.Fprintf(l.progress, "loading %s\n", from.Image)
	if err := l.Load(ctx, from.Image); err != nil {
		return err
	}
	return l.deploy(ctx, from.Manifest, text)
}

// Upgrade is Install where nodes have the image.
func (l *Lab) Upgrade(ctx context.Context, from Install) error {
	text, err := from.text()
	if err != nil {
		return err
	}
	return l.deploy(ctx, from.Manifest, text)
}

// deploy applies a manifest's text, and waits.
func (l *Lab) deploy(ctx context.Context, name, text string) error {
	fmt.Fprintf(l.progress, "applying %s\n", name)
	if err := l.Apply(ctx, l.withFolders(text)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, step := range [][]string{
		{"rollout", "status", "-n", "kube-system", "daemonset", "-l", "k8s-app=cilium", "--timeout=120s"},
		{"wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"},
		{"wait", "--for=condition=Available", "-n", "kube-system", "deployment/coredns", "--timeout=120s"},
	} {
		r := l.Kubectl(ctx, step...)
		fmt.Fprint(l.progress, r.Stdout)
		if !r.OK() {
			return fmt.Errorf("kubectl %s: %s\n%s", strings.Join(step, " "), strings.TrimSpace(r.Stderr), l.Describe(ctx))
		}
	}
	return nil
}

// k3sFolders are k3s's, by the runtime's folders in a manifest for other clusters.
var k3sFolders = map[string]string{
	"/etc/cni/net.d": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
	"/opt/cni/bin":   "/var/lib/rancher/k3s/data/cni",
}

// usualFolder is one of these with what stands before it, which is no other folder: k3s's
// end as the usual ones do.
var usualFolder = regexp.MustCompile(`([ "])(/etc/cni/net\.d|/opt/cni/bin)\b`)

// withFolders is a manifest's text with the folders where this lab's runtime looks.
func (l *Lab) withFolders(text string) string {
	settings, err := os.ReadFile(filepath.Join(StateDir(), l.name, "settings"))
	if err == nil && strings.Contains(string(settings), "LAYOUT=k3s\n") {
		return usualFolder.ReplaceAllStringFunc(text, func(found string) string { return found[:1] + k3sFolders[found[1:]] })
	}
	return text
}

// Describe tells the state of all pods, of Weir's most of all.
func (l *Lab) Describe(ctx context.Context) string {
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "nodes,pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector=type!=Normal", "--sort-by=.lastTimestamp"},
		{"logs", "-n", "kube-system", "-l", "k8s-app=cilium", "--all-containers", "--prefix", "--tail=15", "--ignore-errors"},
		{"logs", "-n", "kube-system", "-l", "io.cilium/app=operator", "--prefix", "--tail=15", "--ignore-errors"},
	} {
		r := l.Kubectl(ctx, args...)
		fmt.Fprintf(&b, "# kubectl %s\n%s%s", strings.Join(args, " "), r.Stdout, r.Stderr)
	}
	return b.String()
}
