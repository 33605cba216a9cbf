// Code generated from layout.h by bpf/gen. DO NOT EDIT.

package bpf

import "structs"

// Addr is struct addr of layout.h.
type Addr struct {
	_ structs.HostLayout
	W [4]uint32
}

// Affinity is struct affinity of layout.h.
type Affinity struct {
	_          structs.HostLayout
	Used       uint32
	Backend    uint32
	Generation uint32
	Slot       uint32
}

// AffinityKey is struct affinity_key of layout.h.
type AffinityKey struct {
	_       structs.HostLayout
	Client  Addr
	Service uint32
	Pad     uint32
}

// Backend is struct backend of layout.h.
type Backend struct {
	_          structs.HostLayout
	Addr       Addr
	Port       uint16
	Proto      uint8
	Pad        uint8
	Generation uint32
}

// Budget is struct budget of layout.h.
type Budget struct {
	_      structs.HostLayout
	Window uint32
	Used   uint32
}

// CTEntry is struct ct_entry of layout.h.
type CTEntry struct {
	_       structs.HostLayout
	Bytes   [2]uint64
	Packets [2]uint32
	Rule    [2]uint32
	Seen    uint32
	Stamp   uint32
	Out     [2]uint16
	Way     [2]uint8
	Flags   uint8
	Opener  uint8
}

// CTExpire is struct ct_expire of layout.h.
type CTExpire struct {
	_              structs.HostLayout
	TCPNew         uint32
	TCPEstablished uint32
	TCPClosing     uint32
	UDPNew         uint32
	UDPEstablished uint32
	ICMP           uint32
	Count          uint32
	Now            uint32
	Keys           [64]CTKey
}

// CTFlag is enum ct_flag of layout.h.
type CTFlag uint32

const (
	CTResetReply  CTFlag = 1
	CTReplied     CTFlag = 2
	CTFinOriginal CTFlag = 4
	CTFinReply    CTFlag = 8
	CTReset       CTFlag = 16
	CTEstablished CTFlag = 32
	CTIsForward   CTFlag = 64
	CTIsReverse   CTFlag = 128
)

// CTForward is struct ct_forward of layout.h.
type CTForward struct {
	_          structs.HostLayout
	Bytes      uint64
	Backend    uint32
	Generation uint32
	Packets    uint32
	NATPort    uint16
	Source     uint8
	World      uint8
	Rule       [2]uint32
	Seen       uint32
	Stamp      uint32
	Out        [2]uint16
	Way        [2]uint8
	Flags      uint8
	Opener     uint8
}

// CTKey is struct ct_key of layout.h.
type CTKey struct {
	_     structs.HostLayout
	A     Addr
	B     Addr
	PortA uint16
	PortB uint16
	Proto uint8
	Echo  uint8
	Pad   [2]uint8
}

// CTOut is enum ct_out of layout.h.
type CTOut uint32

const (
	OutUnknown  CTOut = 0
	OutEndpoint CTOut = 1
	OutTunnel   CTOut = 2
	OutFIB      CTOut = 3
	OutHost     CTOut = 4
	OutStack    CTOut = 5
	OutDSR      CTOut = 6
)

// CTReverse is struct ct_reverse of layout.h.
type CTReverse struct {
	_         structs.HostLayout
	Addr      Addr
	Packets   uint32
	Frontend  uint32
	Bytes     uint32
	Port      uint16
	BytesHigh uint16
	Seen      uint32
	Stamp     uint32
	Out       [2]uint16
	Way       [2]uint8
	Flags     uint8
	Opener    uint8
}

// Config is struct config of layout.h.
type Config struct {
	_             structs.HostLayout
	RouterIPv4    Addr
	RouterIPv6    Addr
	NodeIPv4      Addr
	NodeIPv6      Addr
	Build         uint64
	TunnelIfindex uint32
	HostIfindex   uint32
	TunnelMTU     uint32
	VLANBypass    [8]uint16
	IPv4          uint8
	IPv6          uint8
	HostRouting   uint8
	UnderlayIPv6  uint8
	HostFirewall  uint8
	Acceleration  uint8
	TunnelPort    uint16
	Services      uint8
	SetRetval     uint8
	Masquerade    uint8
	L2            uint8
	NATFirst      uint16
	NATLast       uint16
	MonitorRate   uint32
	Netns         uint64
	Failsafe      [16]uint32
	Monitor       uint8
	DNS           uint8
	Pad3          [2]uint8
	DropEvents    uint32
}

// DNSAnswer is struct dns_answer of layout.h.
type DNSAnswer struct {
	_           structs.HostLayout
	Time        uint64
	Src         Addr
	Dst         Addr
	Asked       Addr
	Sport       uint16
	Dport       uint16
	AskedPort   uint16
	Len         uint16
	Copied      uint16
	Family      uint8
	Place       uint8
	Ifindex     uint32
	SrcIdentity uint32
	DstIdentity uint32
	Payload     [512]uint8
}

// Endpoint is struct endpoint of layout.h.
type Endpoint struct {
	_        structs.HostLayout
	IPv4     Addr
	IPv6     Addr
	ID       uint32
	Ifindex  uint32
	Identity uint32
	Flags    uint16
	MAC      MAC
	NodeMAC  MAC
	Pad      [3]uint16
}

// EndpointFlag is enum endpoint_flag of layout.h.
type EndpointFlag uint32

const (
	EndpointHealth EndpointFlag = 1
)

// Event is struct event of layout.h.
type Event struct {
	_           structs.HostLayout
	Time        uint64
	Src         Addr
	Dst         Addr
	Asked       Addr
	Taken       Addr
	SrcIdentity uint32
	DstIdentity uint32
	Rule        [2]uint32
	Endpoint    uint32
	Ifindex     uint32
	Len         uint32
	Out         uint32
	Sport       uint16
	Dport       uint16
	AskedPort   uint16
	TakenPort   uint16
	Family      uint8
	Proto       uint8
	Reason      uint8
	Place       uint8
	Direction   uint8
	TCPFlags    uint8
	Protocol    uint16
	Kind        uint8
	Reply       uint8
	Flags       uint8
	FIB         uint8
	MTU         uint16
	Pad         [2]uint8
}

// EventKind is enum event_kind of layout.h.
type EventKind uint32

const (
	EventDrop   EventKind = 1
	EventNew    EventKind = 2
	EventGoing  EventKind = 3
	EventPacket EventKind = 4
)

// FIBAnswer is enum fib_answer of layout.h.
type FIBAnswer uint32

const (
	FIBBlackhole     FIBAnswer = 1
	FIBUnreachable   FIBAnswer = 2
	FIBProhibited    FIBAnswer = 3
	FIBNotForwarded  FIBAnswer = 4
	FIBForwardingOff FIBAnswer = 5
	FIBEncapsulated  FIBAnswer = 6
	FIBBack          FIBAnswer = 128
)

// Fragment is struct fragment of layout.h.
type Fragment struct {
	_     structs.HostLayout
	Sport uint16
	Dport uint16
	Proto uint8
	Kind  uint8
	Echo  uint8
	Pad   uint8
}

// FragmentKey is struct fragment_key of layout.h.
type FragmentKey struct {
	_     structs.HostLayout
	Src   Addr
	Dst   Addr
	ID    uint32
	Proto uint8
	Pad   [3]uint8
}

// Frontend is struct frontend of layout.h.
type Frontend struct {
	_     structs.HostLayout
	Addr  Addr
	Port  uint16
	Proto uint8
	Pad   [5]uint8
}

// IPCacheEntry is struct ipcache_entry of layout.h.
type IPCacheEntry struct {
	_              structs.HostLayout
	TunnelEndpoint Addr
	Identity       uint32
	Endpoint       uint32
	Flags          uint8
	EncryptKey     uint8
	Node           uint16
	Pad            uint32
}

// IPCacheFlag is enum ipcache_flag of layout.h.
type IPCacheFlag uint32

const (
	IPCacheHost      IPCacheFlag = 1
	IPCacheLocalCIDR IPCacheFlag = 2
)

// IPCacheKey is struct ipcache_key of layout.h.
type IPCacheKey struct {
	_         structs.HostLayout
	PrefixLen uint32
	Addr      Addr
}

// Identity is enum identity of layout.h.
type Identity uint32

const (
	IdentityUnknown       Identity = 0
	IdentityHost          Identity = 1
	IdentityWorld         Identity = 2
	IdentityUnmanaged     Identity = 3
	IdentityHealth        Identity = 4
	IdentityInit          Identity = 5
	IdentityRemoteNode    Identity = 6
	IdentityKubeApiserver Identity = 7
	IdentityIngress       Identity = 8
	IdentityWorldIPv4     Identity = 9
	IdentityWorldIPv6     Identity = 10
	IdentityLocal         Identity = 16777216
)

// L2Entry is struct l2_entry of layout.h.
type L2Entry struct {
	_         structs.HostLayout
	Responses uint64
	MAC       MAC
	Pad       uint16
}

// L2Key is struct l2_key of layout.h.
type L2Key struct {
	_       structs.HostLayout
	Addr    Addr
	Ifindex uint32
}

// Limits is enum limits of layout.h.
type Limits uint32

const (
	IfindexBase       Limits = 1000000
	EndpointsMax      Limits = 16384
	VLANBypassMax     Limits = 8
	VLANAll           Limits = 65535
	Reasons           Limits = 256
	Places            Limits = 16
	DropFirst         Limits = 130
	NodesMax          Limits = 65536
	Generations       Limits = 16384
	SetSelectors      Limits = 30
	SetChain          Limits = 4
	SelectorEverybody Limits = 0
	SelectorOutside   Limits = 32768
	SelectorsMax      Limits = 32767
	FailsafesMax      Limits = 16
	CTExpireMax       Limits = 64
	RowSlots          Limits = 16
	NATRetryRows      Limits = 10
	WalkFilters       Limits = 4
	PeersMax          Limits = 16
	DNSOctets         Limits = 512
)

// MAC is struct mac of layout.h.
type MAC struct {
	_     structs.HostLayout
	Bytes [6]uint8
}

// Masquerade is enum masquerade of layout.h.
type Masquerade uint32

const (
	MasqueradeIPv4 Masquerade = 1
	MasqueradeIPv6 Masquerade = 2
)

// Metric is struct metric of layout.h.
type Metric struct {
	_       structs.HostLayout
	Packets uint64
	Bytes   uint64
}

// Monitor is enum monitor of layout.h.
type Monitor uint32

const (
	MonitorOff     Monitor = 0
	MonitorMaximum Monitor = 1
	MonitorMedium  Monitor = 2
	MonitorLow     Monitor = 3
	MonitorNone    Monitor = 4
)

// NATSource is enum nat_source of layout.h.
type NATSource uint32

const (
	NATNone   NATSource = 0
	NATPort   NATSource = 1
	NATNode   NATSource = 2
	NATRouter NATSource = 3
	NATDSR    NATSource = 4
)

// Node is struct node of layout.h.
type Node struct {
	_    structs.HostLayout
	Addr Addr
}

// Place is enum place of layout.h.
type Place uint32

const (
	PlaceNone        Place = 0
	PlaceFromPod     Place = 1
	PlaceToPod       Place = 2
	PlaceFromOverlay Place = 3
	PlaceToOverlay   Place = 4
	PlaceFromNetdev  Place = 5
	PlaceToNetdev    Place = 6
	PlaceFromHost    Place = 7
	PlaceToHost      Place = 8
	PlaceSocket      Place = 9
	PlaceFromXDP     Place = 10
)

// Policy is struct policy of layout.h.
type Policy struct {
	_           structs.HostLayout
	PolicyClass uint32
	Epoch       uint32
	Flags       uint32
	Pad         uint32
}

// PolicyFlag is enum policy_flag of layout.h.
type PolicyFlag uint32

const (
	PolicyIngress       PolicyFlag = 1
	PolicyEgress        PolicyFlag = 2
	PolicyRejectIngress PolicyFlag = 4
	PolicyRejectEgress  PolicyFlag = 8
)

// PolicyLevel is enum policy_level of layout.h.
type PolicyLevel uint32

const (
	LevelPort  PolicyLevel = 0
	LevelRange PolicyLevel = 1
	LevelProto PolicyLevel = 2
	LevelAny   PolicyLevel = 3
	Levels     PolicyLevel = 4
)

// PolicyRangeKey is struct policy_range_key of layout.h.
type PolicyRangeKey struct {
	_           structs.HostLayout
	PrefixLen   uint32
	PolicyClass uint32
	Direction   uint8
	Proto       uint8
	Port        uint16
}

// PolicyRow is struct policy_row of layout.h.
type PolicyRow struct {
	_         structs.HostLayout
	Selectors uint64
}

// PolicyRowKey is struct policy_row_key of layout.h.
type PolicyRowKey struct {
	_           structs.HostLayout
	PolicyClass uint32
	Port        uint16
	Proto       uint8
	Level       uint8
}

// PolicyRule is struct policy_rule of layout.h.
type PolicyRule struct {
	_     structs.HostLayout
	ID    uint32
	Flags uint32
}

// PolicyRuleKey is struct policy_rule_key of layout.h.
type PolicyRuleKey struct {
	_        structs.HostLayout
	Row      PolicyRowKey
	Selector uint16
	Pad      uint16
}

// PolicySet is struct policy_set of layout.h.
type PolicySet struct {
	_         structs.HostLayout
	Count     uint16
	Selectors [30]uint16
	Next      uint16
}

// Reason is enum reason of layout.h.
type Reason uint32

const (
	ReasonNone            Reason = 0
	ReasonToEndpoint      Reason = 64
	ReasonToOverlay       Reason = 65
	ReasonToNetwork       Reason = 66
	ReasonToStack         Reason = 67
	ReasonToHost          Reason = 68
	ReasonPassed          Reason = 69
	ReasonARPAnswered     Reason = 70
	ReasonNDPAnswered     Reason = 71
	ReasonLinkChatter     Reason = 72
	ReasonVLANBypassed    Reason = 73
	ReasonFragmented      Reason = 74
	ReasonEventLost       Reason = 77
	ReasonReset           Reason = 75
	ReasonProhibited      Reason = 76
	ReasonSocketConnected Reason = 78
	ReasonSocketSent      Reason = 79
	ReasonSocketClosed    Reason = 80
	ReasonSocketEnded     Reason = 81
	ReasonSocketUnnoted   Reason = 82
	ReasonTooBig          Reason = 83
	ReasonTraceLost       Reason = 84
	ReasonUnreachable     Reason = 86
	ReasonDNSLost         Reason = 85
	DropInvalidSourceIP   Reason = 132
	DropPolicy            Reason = 133
	DropInvalidPacket     Reason = 134
	DropFragNeeded        Reason = 136
	DropUnsupportedL3     Reason = 139
	DropWriteError        Reason = 141
	DropTunnelKey         Reason = 147
	DropUnknownTarget     Reason = 150
	DropUnroutable        Reason = 151
	DropNoEndpoint        Reason = 152
	DropNoBackend         Reason = 158
	DropUnsupportedL2     Reason = 166
	DropNATPorts          Reason = 167
	DropNATProtocol       Reason = 168
	DropClusterIP         Reason = 174
	DropSourceRange       Reason = 177
	DropCTFull            Reason = 155
	DropNoPolicy          Reason = 165
	DropFIB               Reason = 169
	DropFragment          Reason = 175
	DropPolicyDeny        Reason = 181
	DropVLAN              Reason = 182
	DropTTLExceeded       Reason = 196
	DropHostNotReady      Reason = 202
	DropPodNotReady       Reason = 203
	DropMulticast         Reason = 220
	DropTunnelSource      Reason = 221
	DropDSR               Reason = 222
)

// RuleFlag is enum rule_flag of layout.h.
type RuleFlag uint32

const (
	RuleDeny   RuleFlag = 1
	RuleReject RuleFlag = 2
)

// Selection is struct selection of layout.h.
type Selection struct {
	_     structs.HostLayout
	First uint32
	Count uint32
}

// Service is struct service of layout.h.
type Service struct {
	_        structs.HostLayout
	ID       uint32
	Frontend uint32
	Affinity uint32
	Flags    uint32
	Inside   Selection
	Outside  Selection
}

// ServiceFlag is enum service_flag of layout.h.
type ServiceFlag uint32

const (
	ServiceExternal    ServiceFlag = 1
	ServiceNodePort    ServiceFlag = 2
	ServiceRanges      ServiceFlag = 4
	ServiceMaglev      ServiceFlag = 8
	ServiceKeepClient  ServiceFlag = 16
	ServiceDSR         ServiceFlag = 32
	ServiceDropInside  ServiceFlag = 64
	ServiceDropOutside ServiceFlag = 128
	ServiceElsewhere   ServiceFlag = 256
)

// ServiceKey is struct service_key of layout.h.
type ServiceKey struct {
	_     structs.HostLayout
	Addr  Addr
	Port  uint16
	Proto uint8
	Pad   uint8
}

// Slots is struct slots of layout.h.
type Slots struct {
	_        structs.HostLayout
	Backends [16]uint32
}

// SocketPeer is struct socket_peer of layout.h.
type SocketPeer struct {
	_           structs.HostLayout
	Service     Addr
	Backend     Addr
	ServicePort uint16
	BackendPort uint16
	BackendRow  uint32
	Generation  uint32
}

// SocketPeers is struct socket_peers of layout.h.
type SocketPeers struct {
	_     structs.HostLayout
	Peers [16]SocketPeer
	Next  uint32
	Pad   uint32
}

// SocketUser is struct socket_user of layout.h.
type SocketUser struct {
	_          structs.HostLayout
	Netns      uint64
	BackendRow uint32
	Generation uint32
}

// SourceRange is struct source_range of layout.h.
type SourceRange struct {
	_         structs.HostLayout
	PrefixLen uint32
	Service   uint32
	Addr      Addr
}

// Step is struct step of layout.h.
type Step struct {
	_           structs.HostLayout
	Time        uint64
	CameSrc     Addr
	CameDst     Addr
	Src         Addr
	Dst         Addr
	Via         Addr
	SrcIdentity uint32
	DstIdentity uint32
	Rule        [2]uint32
	Endpoint    uint32
	Ifindex     uint32
	OutIfindex  uint32
	Len         uint32
	Stamp       uint32
	Backend     uint32
	Frontend    uint32
	CameSport   uint16
	CameDport   uint16
	Sport       uint16
	Dport       uint16
	Out         uint16
	Way         uint8
	Place       uint8
	Reason      uint8
	Family      uint8
	Proto       uint8
	TCPFlags    uint8
	TTL         uint8
	How         uint8
	Reply       uint8
	Flags       uint8
	Source      uint8
	FIB         uint8
	MTU         uint16
	Pad         [4]uint8
}

// StepHow is enum step_how of layout.h.
type StepHow uint32

const (
	StepPassed StepHow = 0
	StepHit    StepHow = 1
	StepJudged StepHow = 2
)

// Walk is struct walk of layout.h.
type Walk struct {
	_      structs.HostLayout
	Netns  uint64
	On     uint32
	Pad    uint32
	Filter [4]WalkFilter
}

// WalkFilter is struct walk_filter of layout.h.
type WalkFilter struct {
	_     structs.HostLayout
	A     Addr
	B     Addr
	PortA uint16
	PortB uint16
	Proto uint8
	Used  uint8
	Pad   [2]uint8
}
