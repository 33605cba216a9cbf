package uninstall

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"weir/agent"
	"weir/agent/config"
)

// runtimes are folders where container runtimes look for CNI configurations and plugins:
// most, and that of k3s, since October 2024 and before.
var runtimes = []config.CNI{
	{ConfDir: "/etc/cni/net.d", BinDir: "/opt/cni/bin"},
	config.K3sCNI,
	{BinDir: "/var/lib/rancher/k3s/data/current/bin"},
}

// elsewhere are files of Weir's below root for runtimes other than the configured one: an
// agent of a cluster was told its folders by an object, which is gone by now, and one of
// before may have been told others.
func elsewhere(root string, configured config.CNI) ([]agent.Remain, error) {
	known := map[string]bool{}
	for _, file := range agent.CNIFiles(configured) {
		known[file] = true
	}
	var out []agent.Remain
	var errs []error
	for _, r := range runtimes {
		for _, file := range agent.CNIFiles(r) {
			if known[file] {
				continue
			}
			switch _, err := os.Lstat(filepath.Join(root, file)); {
			case err == nil:
				out = append(out, agent.Remain{Kind: "file", Name: file})
			case !errors.Is(err, fs.ErrNotExist):
				errs = append(errs, err)
			}
		}
	}
	return out, errors.Join(errs...)
}

// removeAll removes what elsewhere has found.
func removeAll(root string, found []agent.Remain) error {
	var files []string
	for _, r := range found {
		files = append(files, filepath.Join(root, r.Name))
	}
	return agent.RemoveFiles(files) // one folder may be a link to another
}
