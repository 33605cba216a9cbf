package lab

import (
	"path/filepath"

	flows "weir/api/wire"
	"weir/internal/certs"
)

// certificate is a file by which the lab's agents, and whoever asks them, know each other.
func certificate(lab, file string) string { return filepath.Join(labDir(lab), "certs", file) }

// writeCertificates makes one for all nodes of a cluster, and one for those that ask them.
func writeCertificates(dir, cluster string) error {
	a, err := certs.New(dir, "lab "+cluster)
	if err != nil {
		return err
	}
	if _, err := a.Issue("node", flows.ServerName(cluster, "*")); err != nil {
		return err
	}
	_, err = a.Issue("client", "client")
	return err
}
