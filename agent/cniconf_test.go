package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"weir/agent/config"
)

// Runtimes of today speak version 1.1; one that knows 1.0 alone finds that.
func TestOlderRuntimesFindAVersionTheyKnow(t *testing.T) {
	dir := t.TempDir()
	if err := installCNI(config.Config{CNI: config.CNI{ConfDir: dir}}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, confName)
	list, err := libcni.ConfListFromFile(file)
	if err != nil || list.CNIVersion != "1.1.0" {
		t.Errorf("libcni of today chooses %+v %v, want version 1.1.0", list, err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var old struct{ CNIVersion string }
	if err := json.Unmarshal(data, &old); err != nil || old.CNIVersion != "1.0.0" {
		t.Errorf("cniVersion is %q %v, want 1.0.0", old.CNIVersion, err)
	}
}
