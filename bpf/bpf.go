// Package bpf types the datapath: the C programs below this folder, the Go
// shapes of everything that crosses between them and the agent, and the
// compiled objects.
//
// layout.h is the only definition of those shapes; layout_gen.go is generated
// from it. The package loads nothing: see package datapath.
package bpf

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
)

// Names of the maps, as they are pinned.
const (
	MapEndpoints = "weir_endpoints" // endpoint id -> Endpoint
	MapIPCache   = "weir_ipcache"   // IPCacheKey -> IPCacheEntry
	MapMetrics   = "weir_metrics"   // place*REASONS+reason -> Metric for each CPU

	MapNodes       = "weir_nodes"       // number -> Node
	MapGenerations = "weir_generations" // AddrSlot -> uint32
	MapCT          = "weir_ct"          // 0: the table in use, 1: its predecessor: CTKey -> CTEntry
	MapFragments   = "weir_fragments"   // FragmentKey -> Fragment

	MapPolicy         = "weir_policy"          // endpoint id -> Policy
	MapPolicyPeers    = "weir_policy_peers"    // identity -> set
	MapPolicyCIDRs    = "weir_policy_cidrs"    // IPCacheKey -> set
	MapPolicySets     = "weir_policy_sets"     // set -> PolicySet
	MapPolicyRows     = "weir_policy_rows"     // PolicyRowKey -> PolicyRow
	MapPolicyRules    = "weir_policy_rules"    // PolicyRuleKey -> PolicyRule
	MapPolicyRanges   = "weir_policy_ranges"   // PolicyRangeKey -> number
	MapPolicyCounters = "weir_policy_counters" // PolicyRule.ID -> Metric for each CPU

	MapServices      = "weir_services"      // 0: ServiceKey -> Service
	MapSlots         = "weir_slots"         // 0: row -> Slots
	MapBackends      = "weir_backends"      // 0: number -> Backend
	MapFrontends     = "weir_frontends"     // 0: number -> Frontend
	MapAffinity      = "weir_affinity"      // AffinityKey -> Affinity
	MapDSR           = "weir_dsr"           // a number -> Frontend
	MapSourceRanges  = "weir_source_ranges" // SourceRange -> uint32, which says nothing
	MapUnmasqueraded = "weir_unmasqueraded" // IPCacheKey -> Masquerade
	MapNATRetries    = "weir_nat_retries"   // row -> uint64 for each CPU
	MapSocketPeer    = "weir_socket_peer"   // of a socket: SocketPeer
	MapSocketPeers   = "weir_socket_peers"  // of a socket: SocketPeers
	MapSocketUsers   = "weir_socket_users"  // SocketUser -> uint32, which says nothing

	MapL2 = "weir_l2" // L2Key -> L2Entry

	MapEvents = "weir_events" // ring of Event: drops and new connections
	MapTraces = "weir_traces" // ring of Event: all others
	MapDNS    = "weir_dns"    // ring of DNSAnswer
	MapWalk   = "weir_walk"   // 0: Walk
	MapSteps  = "weir_steps"  // ring of Step

	MapEventBudget = "weir_event_budget" // 0: Budget for each CPU
)

// Names of the programs, and of the objects that hold them.
const (
	ProgFromPod     = "from_pod"
	ProgToPod       = "to_pod"
	ProgFromOverlay = "from_overlay"
	ProgToOverlay   = "to_overlay"
	ProgFromNetdev  = "from_netdev"
	ProgToNetdev    = "to_netdev"
	ProgFromHost    = "from_host"
	ProgToHost      = "to_host"
	ProgFromXDP     = "from_xdp"
	ProgExpire      = "expire" // attached nowhere: the agent runs it
)

// SocketPrograms are attached to the node's cgroup, each at the hook of its name.
var SocketPrograms = map[string]ebpf.AttachType{
	"sock4_connect": ebpf.AttachCGroupInet4Connect, "sock6_connect": ebpf.AttachCGroupInet6Connect,
	"sock4_sendmsg": ebpf.AttachCGroupUDP4Sendmsg, "sock6_sendmsg": ebpf.AttachCGroupUDP6Sendmsg,
	"sock4_recvmsg": ebpf.AttachCGroupUDP4Recvmsg, "sock6_recvmsg": ebpf.AttachCGroupUDP6Recvmsg,
	"sock4_getpeername": ebpf.AttachCgroupInet4GetPeername, "sock6_getpeername": ebpf.AttachCgroupInet6GetPeername,
	"sock4_post_bind": ebpf.AttachCGroupInet4PostBind, "sock6_post_bind": ebpf.AttachCGroupInet6PostBind,
	"sock_release": ebpf.AttachCgroupInetSockRelease,
}

// Objects are the object files, without their ending.
var Objects = []string{"pod", "overlay", "host", "sock", "xdp", "expire"}

// ObjectEnd is the object of the programs that end sockets. It is none of Objects,
// since kernels before 6.5 cannot load it, and nothing in the kernel outlives the
// agent that runs them.
const ObjectEnd = "end"

// Names of its programs, each an iterator over sockets.
const (
	ProgEndTCP = "end_tcp"
	ProgEndUDP = "end_udp"
)

// ErrNotBuilt says that the binary was built before the objects were.
var ErrNotBuilt = errors.New("BPF objects are missing from this binary: run make, which compiles bpf/*.c before it builds")

//go:embed obj
var objects embed.FS

// Object returns the compiled object file of that name.
func Object(name string) ([]byte, error) {
	b, err := objects.ReadFile("obj/" + name + ".o")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuilt
	}
	return b, err
}

// Spec parses the compiled object of that name.
func Spec(name string) (*ebpf.CollectionSpec, error) {
	b, err := Object(name)
	if err != nil {
		return nil, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("parse object %s: %w", name, err)
	}
	return spec, nil
}

// Build is the fingerprint of all objects: programs with another one are of
// another version.
func Build() (uint64, error) {
	h := sha256.New()
	for _, name := range Objects {
		b, err := Object(name)
		if err != nil {
			return 0, err
		}
		h.Write(b)
	}
	return binary.BigEndian.Uint64(h.Sum(nil)), nil
}

// TCPFlags are the names of the bits of a TCP header's flags, from the lowest on
// (RFC 9293, section 3.1).
var TCPFlags = [8]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}
