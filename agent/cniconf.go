package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"weir/agent/config"
)

// confName sorts before those of other plugins: runtimes take the first.
const confName = "05-weir.conflist"

// installCNI puts the plugin and its configuration where the container runtime
// looks for them, each in one step. Without folders it does nothing.
func installCNI(cfg config.Config) error {
	if cfg.CNI.BinDir != "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find weir-cni: %w", err)
		}
		plugin, err := os.ReadFile(filepath.Join(filepath.Dir(self), "weir-cni"))
		if err != nil {
			return fmt.Errorf("read the plugin beside the agent: %w", err)
		}
		if err := replaceFile(filepath.Join(cfg.CNI.BinDir, "weir-cni"), plugin, 0o755); err != nil {
			return err
		}
	}
	if cfg.CNI.ConfDir == "" {
		return nil
	}
	// Runtimes that know version 1.1 (STATUS, GC) know the list, too; those that do not,
	// such as containerd 1.6, refuse results of it and read the other key alone.
	conf, err := json.MarshalIndent(map[string]any{
		"cniVersion":  "1.0.0",
		"cniVersions": []string{"1.0.0", "1.1.0"},
		"name":        "weir",
		"plugins":     []any{map[string]any{"type": "weir-cni", "socket": cfg.Socket, "runDir": cfg.RunDir}},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode CNI configuration: %w", err)
	}
	return replaceFile(filepath.Join(cfg.CNI.ConfDir, confName), append(conf, '\n'), 0o644)
}

// CNIFiles are what an agent with these folders puts for the container runtime.
func CNIFiles(c config.CNI) []string {
	var out []string
	if c.ConfDir != "" {
		out = append(out, filepath.Join(c.ConfDir, confName))
	}
	if c.BinDir != "" {
		out = append(out, filepath.Join(c.BinDir, "weir-cni"))
	}
	return out
}

// RemoveFiles removes files, of which some may be gone.
func RemoveFiles(files []string) error {
	var errs []error
	for _, file := range files {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func replaceFile(path string, content []byte, mode os.FileMode) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}

// cniConfig is the line of `weir status`, read from the folder.
func (a *Agent) cniConfig() string {
	dir := a.cfg.CNI.ConfDir
	if dir == "" {
		return "CNI configuration file management disabled"
	}
	file := filepath.Join(dir, confName)
	if _, err := os.Stat(file); err != nil {
		return "not written yet: " + err.Error()
	}
	return "successfully wrote CNI configuration file to " + file
}

// confWarning names what runtimes take instead of our configuration, or is empty. Files of
// others stay where they are: only who put them there knows what else needs them.
func confWarning(dir string) string {
	if dir == "" {
		return ""
	}
	list, err := os.ReadDir(dir) // in the order of names, as runtimes read it
	if err != nil {
		return ""
	}
	for _, e := range list {
		switch filepath.Ext(e.Name()) {
		case ".conf", ".conflist", ".json":
			if e.Name() < confName {
				return fmt.Sprintf("%s comes before %s: the runtime makes new pods with that; remove it, unless it calls weir-cni itself", filepath.Join(dir, e.Name()), confName)
			}
		}
	}
	return ""
}
