package lab

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/lab/kube"
)

// inProcess runs `weir lab ARGS` here and returns its error's text.
func inProcess(args ...string) string {
	c := Command()
	c.SetArgs(args)
	c.SetOut(io.Discard)
	c.SetErr(io.Discard)
	if err := c.Execute(); err != nil {
		return err.Error()
	}
	return ""
}

func TestFlagsThatMeanNothingWithKubernetesAreRefused(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--mode", "native"}, "--mode is for labs without Kubernetes"},
		{[]string{"-f", "lab.yaml"}, "--file is for labs without Kubernetes"},
		{[]string{"--ipv4=false", "--ipv6=false"}, "a lab needs one of the two"},
		{[]string{"--name", "No"}, `lab name "No"`},
	} {
		if got := inProcess(append([]string{"up", "--kubernetes"}, tt.args...)...); !strings.Contains(got, tt.want) {
			t.Errorf("up --kubernetes %q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestCommandsKnowWhichKindALabIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("labs need root")
	}
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	if got := inProcess("kubectl", "--name", "t-none", "get", "pods"); !strings.Contains(got, `lab "t-none": there is none with Kubernetes`) {
		t.Errorf("kubectl without a lab: %q", got)
	}
	if err := os.MkdirAll(filepath.Join(kube.StateDir(), "t-kube"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"apply", "-f", "x.yaml"}, {"services"}, {"agent", "stop", "n1"}, {"capture", "n1", "eth0"}} {
		if got := inProcess(append(args, "--name", "t-kube")...); !strings.Contains(got, "use weir lab kubectl") {
			t.Errorf("%q on a lab with Kubernetes: %q", args, got)
		}
	}
	if _, err := Up(t.Context(), Spec{Name: "t-kube"}); err == nil || !strings.Contains(err.Error(), "with Kubernetes") {
		t.Errorf("up of a lab of that name: %v", err)
	}
}
