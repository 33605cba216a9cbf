// Package kube makes a real Kubernetes on one machine: unmodified programs of
// upstream (etcd, API server, controller manager, scheduler, kubelets,
// CoreDNS), containerd and runc, without Docker and without pulling images. A
// node is a set of Linux namespaces and control groups with its own containerd
// and kubelet; the control plane runs on n1. Or each node has one program that is all of
// these, and its files where k3s has them.
//
// The work is done by the shell scripts in files/, which are part of the
// program and unpacked into the cache; Go calls them and installs Weir as the
// cluster's network. What is built lies in $XDG_CACHE_HOME/weir/kube, what a lab
// keeps in $XDG_STATE_HOME/weir/kube/NAME.
//
// It knows nothing of labs without Kubernetes (package lab) and does not look
// into Weir: it loads an image and applies a manifest.
package kube
