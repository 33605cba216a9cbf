package preflight

// Facts are all that is asked about a host.
type Facts struct {
	Kernel  string   `json:"kernel"`            // release: "6.1.0-31-amd64"
	Missing []string `json:"missing,omitempty"` // features of BPF that this kernel lacks
	Routing string   `json:"routing,omitempty"` // what BPF host routing lacks, if anything
	Root    bool     `json:"root"`

	Options map[string]string `json:"options,omitempty"` // the kernel's configuration: "BPF_JIT": "y"; none: it cannot be read
	BTF     bool              `json:"btf"`
	BPFFS   string            `json:"bpffs,omitempty"`  // kind of file system that is mounted at bpf.root
	Cgroup  string            `json:"cgroup,omitempty"` // where a cgroup v2 is mounted

	Sysctls map[string]string `json:"sysctls,omitempty"` // "net/ipv4/ip_forward": "1"
	Devices []Device          `json:"devices,omitempty"`
	Pins    []string          `json:"pins,omitempty"`   // folders on bpffs
	Chains  map[string]int    `json:"chains,omitempty"` // of iptables, by what they begin with: "KUBE-": 40
	Confs   []string          `json:"confs,omitempty"`  // file names in the folder for CNI configurations
	ConfDir string            `json:"confDir"`          // where Weir would write its own; empty: nowhere
	Kubelet string            `json:"kubelet"`          // the kubelet's kubeconfig; empty: none is here

	Ports  []Port `json:"ports,omitempty"` // that somebody listens at
	Agent  bool   `json:"agent"`           // Weir runs here already
	Server Server `json:"server"`          // of the API
}

// Device is a network device of the host.
type Device struct {
	Name     string `json:"name"`
	MTU      int    `json:"mtu"`
	Underlay bool   `json:"underlay,omitempty"` // it has an address and leads out
}

// Port is one that is in use.
type Port struct {
	Proto string `json:"proto"` // "TCP" or "UDP"
	Port  int    `json:"port"`
}

// Server is where the API server is said to be, and what came of asking it.
type Server struct {
	URL   string `json:"url,omitempty"`
	From  string `json:"from,omitempty"` // who says so
	Error string `json:"error,omitempty"`
}

// State is how a check came out.
type State string

// The states, from good to bad.
const (
	OK      State = "ok"
	Warning State = "warning" // Weir will work; something is not as it should be
	Failure State = "failure" // Weir will not work
)

// Check is one thing that was looked at.
type Check struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"` // what to do about it
}
