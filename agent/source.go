package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	api "weir/api/agent"
	"weir/source/files"
	"weir/source/kube"
	"weir/source/kube/connect"
	"weir/source/kube/publish"
)

// source returns what fills the tables with the cluster's objects. What it knows
// it keeps in a folder of the state, from which the next agent starts.
func (a *Agent) source() func(context.Context) error {
	cfg := a.cfg.Config
	if a.kube != nil {
		return a.kube.Run
	}
	s := files.New(a.log.With("room", "source"), cfg.Source.Files, a.scope(), a.tables)
	s.Keep(filepath.Join(cfg.StateDir, "good"))
	return s.Run
}

// newKube returns the API server as the source, or nil when files are.
func (a *Agent) newKube() *kube.Source {
	cfg := a.cfg.Config
	if !cfg.Source.Kubernetes.Enabled {
		return nil
	}
	return kube.New(a.log.With("room", "source"), kube.Options{
		Scope: a.scope(), Dir: filepath.Join(cfg.StateDir, "kube"),
		Connect: connect.Options{Servers: cfg.Servers(), Kubeconfig: cfg.Source.Kubernetes.Kubeconfig},
	}, a.tables)
}

// publish tells the API server of this node's endpoints.
func (a *Agent) publish(ctx context.Context) error {
	w, err := publish.New(a.log.With("room", "publish"), a.kube.Connection(), a.cfg.NodeName, a.tables)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// sourceStatus fills what the status says of the source. An API server that does
// not answer is a failure of it, and of nothing else: the network goes on.
func (a *Agent) sourceStatus(s *api.Status) {
	if a.kube == nil {
		s.Source = api.Condition{OK: a.tables.Nodes.Synced(), Message: "files in " + a.cfg.Source.Files}
		return
	}
	if text := unmanagedWarning(a.tables, a.cfg.NodeName); text != "" {
		s.Warnings = append(s.Warnings, text)
	}
	k := a.kube.Status()
	s.Source = api.Condition{OK: k.OK, Message: kubeMessage(k, time.Now())}
	s.KubernetesAPIs = k.APIs
	if k.Kept != nil {
		s.Warnings = append(s.Warnings, "objects of the cluster are not kept on disk, so that a restart without an API server would know older ones: "+k.Kept.Error())
	}
}

// kubeMessage is "Kubernetes 1.34 (v1.34.4) [linux/amd64]", or why it is not.
func kubeMessage(k kube.Status, now time.Time) string {
	text := "Kubernetes"
	if v := k.Version; v.GitVersion != "" {
		text = fmt.Sprintf("Kubernetes %s.%s (%s) [%s]", v.Major, strings.TrimSuffix(v.Minor, "+"), v.GitVersion, v.Platform)
	}
	if k.OK {
		return text
	}
	return fmt.Sprintf("%s: no answer for %s: %v", text, now.Sub(k.Since).Round(time.Second), strings.ReplaceAll(fmt.Sprint(k.Err), "\n", "; "))
}
