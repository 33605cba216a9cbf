package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
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

// Another plugin's file is left alone, and named where it would win.
func TestAConfigurationThatWinsIsNamed(t *testing.T) {
	dir := t.TempDir()
	put := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{confName, "10-bridge.conflist", "05-cilium.conflist.cilium_bak", "00-notes.txt"} {
		put(name)
	}
	if text := confWarning(dir); text != "" {
		t.Errorf("got %q, want nothing", text)
	}
	put("05-cilium.conflist")
	if text := confWarning(dir); !strings.Contains(text, "05-cilium.conflist comes before 05-weir.conflist") {
		t.Errorf("got %q", text)
	}
	if text := confWarning(""); text != "" {
		t.Errorf("nobody asked for a configuration, and got %q", text)
	}
}
