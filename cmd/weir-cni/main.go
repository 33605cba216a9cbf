// Command weir-cni is the CNI plugin: a container runtime runs it for each
// interface of a pod. All it does is in package cni.
package main

import (
	"os"

	"weir/cni"
)

func main() { os.Exit(cni.Main()) }
