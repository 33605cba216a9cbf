package cli

import (
	"strings"
	"testing"
)

// What is wrong with a file does not hide what it says.
func TestAWrongFileIsExplainedAndItsErrorNamed(t *testing.T) {
	stdout, stderr, code := weir(t, "/nowhere", "config", "explain", "--config", "wrong.yaml", "mtu")
	if code != 1 || !strings.Contains(stdout, "wrong.yaml:1") || !strings.Contains(stderr, `wrong.yaml:2: unknown key "foo"`) {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 1, the key and the error", code, stdout, stderr)
	}
}
