package lifecycle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"weir/lab"
)

// attachment is one interface of a namespace that no pod of the lab has.
type attachment struct {
	lab    *lab.Lab
	node   string
	id     string
	netns  string // path
	ifname string // eth0 when empty
}

// attach returns an attachment with a namespace of its own, which goes at the
// end of the test.
func attach(t *testing.T, l *lab.Lab, node, id string) attachment {
	t.Helper()
	name := l.Name() + "-" + id
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add %s: %v %s", name, err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	return attachment{lab: l, node: node, id: id, netns: "/run/netns/" + name}
}

// reply is how a call of the plugin ended.
type reply struct {
	out  []byte
	err  *types.Error // what the plugin printed when it failed
	took time.Duration
}

// call runs the plugin in the node's namespace as a runtime does.
func (a attachment) call(t *testing.T, verb string, more map[string]any) reply {
	t.Helper()
	cmd := a.prepare(t, verb, more)
	start := time.Now()
	out := &bytes.Buffer{}
	running, err := a.lab.Start(t.Context(), a.node, cmd.argv, func(c *exec.Cmd) {
		c.Env, c.Stdin, c.Stdout = append(c.Env, cmd.env...), bytes.NewReader(cmd.stdin), out
	})
	if err != nil {
		t.Fatal(err)
	}
	err = running.Wait()
	r := reply{out: out.Bytes(), took: time.Since(start)}
	if err == nil {
		return r
	}
	var exit *exec.ExitError
	r.err = &types.Error{}
	if !errors.As(err, &exit) || json.Unmarshal(r.out, r.err) != nil {
		t.Fatalf("%s: %v, output %q", verb, err, r.out)
	}
	return r
}

type pluginCall struct {
	argv, env []string
	stdin     []byte
}

func (a attachment) prepare(t *testing.T, verb string, more map[string]any) pluginCall {
	t.Helper()
	n := node(t, a.lab, a.node)
	conf := map[string]any{
		"cniVersion": "1.1.0", "name": "weir", "type": "weir-cni",
		"socket": n.Socket(), "runDir": filepath.Dir(n.Socket()),
	}
	for k, v := range more {
		conf[k] = v
	}
	stdin, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	return pluginCall{
		argv: []string{filepath.Join(bin, "weir-cni")}, stdin: stdin,
		env: []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + a.id, "CNI_NETNS=" + a.netns, "CNI_IFNAME=" + cmp.Or(a.ifname, "eth0"), "CNI_PATH=" + bin,
			"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + a.id},
	}
}

// add must work; it returns the addresses and the result.
func (a attachment) add(t *testing.T) ([]netip.Addr, map[string]any) {
	t.Helper()
	r := a.call(t, "ADD", nil)
	if r.err != nil {
		t.Fatalf("ADD %s: %+v", a.id, r.err)
	}
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	var raw map[string]any
	if err := errors.Join(json.Unmarshal(r.out, &result), json.Unmarshal(r.out, &raw)); err != nil {
		t.Fatalf("ADD %s: %v in %s", a.id, err, r.out)
	}
	var out []netip.Addr
	for _, ip := range result.IPs {
		out = append(out, ip.Address.Addr())
	}
	return out, raw
}

func (a attachment) del(t *testing.T) {
	t.Helper()
	if r := a.call(t, "DEL", nil); r.err != nil {
		t.Errorf("DEL %s: %+v", a.id, r.err)
	}
}

// wantRefusal fails unless the plugin answered this code within five seconds,
// in words that hold the parts.
func wantRefusal(t *testing.T, what string, r reply, code uint, parts ...string) {
	t.Helper()
	if r.err == nil {
		t.Errorf("%s: it worked: %s", what, r.out)
		return
	}
	if r.err.Code != code || r.took > 5*time.Second {
		t.Errorf("%s: code %d after %s (%v), want %d within 5s", what, r.err.Code, r.took, r.err, code)
	}
	wantText(t, what, r.err.Msg+" "+r.err.Details, parts...)
}

func (a attachment) exec(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", filepath.Base(a.netns)}, argv...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %q: %v %s", a.id, argv, err, out)
	}
	return strings.TrimSpace(string(out))
}
