package cluster

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir/bench/rules"
	"weir/bench/topo"
)

// Plugin is a CNI plugin as a runtime would call it.
type Plugin struct {
	Binary string
	Config []byte     // on stdin
	In     topo.Netns // where its devices appear
	Path   string     // CNI_PATH, for plugins that call others
}

// Attachment is one pod's interface.
type Attachment struct {
	Pod       string // namespace/name
	Container string
	Netns     topo.Netns
}

// NewAttachment names an attachment as a runtime would.
func NewAttachment(pod string, ns topo.Netns) Attachment {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, as its documentation says
	return Attachment{Pod: pod, Container: hex.EncodeToString(b[:]), Netns: ns}
}

// Call runs one verb and returns what the plugin printed.
func (p Plugin) Call(verb string, a Attachment) ([]byte, error) {
	namespace, name, _ := strings.Cut(a.Pod, "/")
	cmd := exec.Command(p.Binary)
	cmd.Env = []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + a.Container, "CNI_NETNS=" + a.Netns.Path(),
		"CNI_IFNAME=eth0", "CNI_PATH=" + p.Path, "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=" + name + ";K8S_POD_INFRA_CONTAINER_ID=" + a.Container}
	cmd.Stdin = bytes.NewReader(p.Config)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := p.In.Inside(cmd.Run)
	if err != nil {
		return nil, fmt.Errorf("CNI %s of %s: %w: %s%s", verb, a.Pod, err, out.Bytes(), errs.Bytes())
	}
	return out.Bytes(), nil
}

// Addrs returns the addresses in the result of an ADD.
func Addrs(result []byte) ([]netip.Addr, error) {
	var r struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, fmt.Errorf("read CNI result: %w", err)
	}
	var out []netip.Addr
	for _, ip := range r.IPs {
		out = append(out, ip.Address.Addr())
	}
	return out, nil
}

// Plugin is weir-cni configured for the node.
func (n *Node) Plugin() Plugin {
	conf, _ := json.Marshal(map[string]any{ // strings only: it cannot fail
		"cniVersion": "1.1.0", "name": "weir", "type": "weir-cni",
		"socket": n.Socket(), "runDir": filepath.Dir(n.Socket()),
	})
	return Plugin{Binary: filepath.Join(n.bin, "weir-cni"), Config: conf, In: n.Netns, Path: n.bin}
}

// Pod is a pod with its address.
type Pod struct {
	Attachment
	IPs []netip.Addr
}

// Add makes a pod on a node: object, namespace, CNI ADD.
func (c *Cluster) Add(n *Node, name string) (Pod, error) {
	ns, err := topo.Make(c.Name + "-" + name)
	if err != nil {
		return Pod{}, err
	}
	p := Pod{Attachment: NewAttachment("default/"+name, ns)}
	if err := c.writePod(n, p); err != nil {
		return p, err
	}
	out, err := n.Plugin().Call("ADD", p.Attachment)
	if err != nil {
		return p, err
	}
	if p.IPs, err = Addrs(out); err != nil {
		return p, err
	}
	return p, c.writePod(n, p)
}

// Announce writes the object of a pod that is to be added, as the API server
// shows it before a runtime calls the plugin.
func (c *Cluster) Announce(n *Node, name string) error {
	return c.writePod(n, Pod{Attachment: Attachment{Pod: "default/" + name}})
}

// writePod writes the Pod object as the API server would show it.
func (c *Cluster) writePod(n *Node, p Pod) error {
	namespace, name, _ := strings.Cut(p.Pod, "/")
	o := corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": rules.Label}},
		Spec:       corev1.PodSpec{NodeName: n.Name, Containers: []corev1.Container{{Name: "bench", Image: "bench"}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending, HostIP: n.Addrs[0].String(),
			HostIPs: []corev1.HostIP{{IP: n.Addrs[0].String()}, {IP: n.Addrs[1].String()}}},
	}
	for _, ip := range p.IPs {
		o.Status.Phase, o.Status.PodIP = corev1.PodRunning, p.IPs[0].String()
		o.Status.PodIPs = append(o.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	return errors.Join(c.write(filepath.Join(c.objects(), "pod-"+name+".yaml"), o), c.writeIdentity(&o))
}
