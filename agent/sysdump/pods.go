package sysdump

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
	"time"
)

// clusterOptions are for the dump of all nodes.
type clusterOptions struct {
	on        bool
	namespace string
	node      string
}

// mostNode is how many bytes one node's archive may have, packed.
const mostNode = 64 << 20

// pod is what counts of one.
type pod struct{ name, node, app string }

// run packs the archives that the agents' pods make, and the operators' messages.
func (c clusterOptions) run(ctx context.Context, o options, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	pods, err := c.pods(ctx)
	if err != nil {
		return err
	}
	out := o.file
	if out == "" {
		out = "weir-sysdump-cluster-" + stamp(o.now()) + ".tar.gz"
	}
	var made *archive
	fill := func(w io.Writer) error {
		made = newArchive(w, "weir-sysdump-cluster-"+stamp(o.now()), o.now(), o.size<<20)
		for i, p := range pods {
			began := time.Now()
			err := c.add(ctx, made, p, o)
			fmt.Fprintf(o.said, "[%2d/%d] %-32s %s%s\n", i+1, len(pods), p.node+" "+p.name, time.Since(began).Round(time.Millisecond), trouble(err))
			if err != nil {
				made.miss(Entry{Name: p.app + "/" + p.node}, err)
			}
		}
		return made.close("the cluster")
	}
	if out == "-" {
		return fill(stdout)
	}
	if err := toFile(out, fill); err != nil {
		return err
	}
	return done(stdout, out, made.entries)
}

func trouble(err error) string {
	if err == nil {
		return ""
	}
	return ", missing: " + scrub(err.Error())
}

// kubectl is run as the user has it: with the environment, which says where the
// cluster is.
func kubectl(ctx context.Context, most int, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	full := &bounded{to: &out, left: most}
	cmd.Stdout, cmd.Stderr = full, &bounded{to: &errs, left: 1 << 20}
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("kubectl is not installed here: run weir sysdump on the nodes, or kubectl exec -n NAMESPACE POD -- weir sysdump --file - > FILE where it is")
	case ctx.Err() != nil:
		return nil, errors.New("no answer in time: raise --limit-time, or name a --node")
	case err != nil:
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		return nil, fmt.Errorf("kubectl: %w: %s", err, lines[len(lines)-1])
	}
	if full.left == 0 {
		return nil, fmt.Errorf("larger than %d MiB", most>>20)
	}
	return out.Bytes(), nil
}

// pods are those of agents and operators, with only what is named here.
func (c clusterOptions) pods(ctx context.Context) ([]pod, error) {
	text, err := kubectl(ctx, mostFile, "-n", c.namespace, "get", "pods", "-l", "app.kubernetes.io/part-of=weir", "-o", "json")
	if err != nil {
		return nil, fmt.Errorf("find the agents: %w", err)
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Spec struct{ NodeName string }
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("find the agents: %w", err)
	}
	var out []pod
	for _, p := range list.Items {
		app := p.Metadata.Labels["app.kubernetes.io/name"]
		if (app == "weir-agent" || app == "weir-operator") && (c.node == "" || c.node == p.Spec.NodeName) {
			out = append(out, pod{p.Metadata.Name, p.Spec.NodeName, app})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no pods of Weir in namespace %s%s: name another --namespace", c.namespace, of(c.node))
	}
	return out, nil
}

func of(node string) string {
	if node == "" {
		return ""
	}
	return " on node " + node
}

func (c clusterOptions) add(ctx context.Context, a *archive, p pod, o options) error {
	if p.app == "weir-operator" {
		return c.logs(ctx, a, p, "operators/"+p.name+"-log.json")
	}
	// Of an agent before this one, if there was any.
	_ = c.logs(ctx, a, p, path.Join("nodes", p.node, "agent/log-before.json"), "-c", "agent", "--previous")
	left := o.limit / 2
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	text, err := kubectl(ctx, mostNode, "-n", c.namespace, "exec", p.name, "-c", "agent", "--", "weir", "sysdump", "--file", "-",
		"--limit-time", left.Round(time.Second).String(), "--limit-size", fmt.Sprint(o.size))
	if err != nil {
		return err
	}
	return unpack(bytes.NewReader(text), func(name string, data []byte) error {
		_, err := a.add(Entry{Name: path.Join("nodes", p.node, name)}, data, mostFile)
		return err
	})
}

// logs are the last messages of a container, with what may leave of each.
func (c clusterOptions) logs(ctx context.Context, a *archive, p pod, name string, more ...string) error {
	text, err := kubectl(ctx, mostFile, append([]string{"-n", c.namespace, "logs", p.name, "--tail=2000"}, more...)...)
	if err != nil {
		return err
	}
	log, err := readLog(bytes.NewReader(text))
	if err != nil {
		return err
	}
	data, err := pretty(log)
	if err == nil {
		_, err = a.add(Entry{Name: name}, data, mostFile)
	}
	return err
}

// unpack calls see for each file of an archive, by its name without the folder.
func unpack(r io.Reader, see func(name string, data []byte) error) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("what the pod sent is no archive: %w", err)
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what the pod sent: %w", err)
		}
		_, name, ok := strings.Cut(path.Clean("/" + h.Name)[1:], "/")
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(t, mostFile+1))
		if err != nil {
			return fmt.Errorf("read %s of what the pod sent: %w", name, err)
		}
		if err := see(name, data); err != nil {
			return err
		}
	}
}
