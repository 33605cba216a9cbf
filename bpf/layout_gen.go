// Code generated from layout.h by bpf/gen. DO NOT EDIT.

package bpf

import "structs"

// Addr is struct addr of layout.h.
type Addr struct {
	_ structs.HostLayout
	W [4]uint32
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
	Pad           [2]uint32
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

// IPCacheEntry is struct ipcache_entry of layout.h.
type IPCacheEntry struct {
	_              structs.HostLayout
	TunnelEndpoint Addr
	Identity       uint32
	Endpoint       uint32
	Flags          uint8
	EncryptKey     uint8
	Pad            uint16
	Pad2           uint32
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
	IdentityUnknown    Identity = 0
	IdentityHost       Identity = 1
	IdentityWorld      Identity = 2
	IdentityUnmanaged  Identity = 3
	IdentityHealth     Identity = 4
	IdentityInit       Identity = 5
	IdentityRemoteNode Identity = 6
)

// Limits is enum limits of layout.h.
type Limits uint32

const (
	IfindexBase   Limits = 1000000
	EndpointsMax  Limits = 16384
	VLANBypassMax Limits = 8
	VLANAll       Limits = 65535
	Reasons       Limits = 256
	Places        Limits = 16
)

// MAC is struct mac of layout.h.
type MAC struct {
	_     structs.HostLayout
	Bytes [6]uint8
}

// Metric is struct metric of layout.h.
type Metric struct {
	_       structs.HostLayout
	Packets uint64
	Bytes   uint64
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
)

// Reason is enum reason of layout.h.
type Reason uint32

const (
	ReasonNone          Reason = 0
	ReasonToEndpoint    Reason = 64
	ReasonToOverlay     Reason = 65
	ReasonToNetwork     Reason = 66
	ReasonToStack       Reason = 67
	ReasonToHost        Reason = 68
	ReasonPassed        Reason = 69
	ReasonARPAnswered   Reason = 70
	ReasonNDPAnswered   Reason = 71
	ReasonLinkChatter   Reason = 72
	ReasonVLANBypassed  Reason = 73
	ReasonFragmented    Reason = 74
	DropInvalidSourceIP Reason = 132
	DropInvalidPacket   Reason = 134
	DropFragNeeded      Reason = 136
	DropUnsupportedL3   Reason = 139
	DropWriteError      Reason = 141
	DropTunnelKey       Reason = 147
	DropUnknownTarget   Reason = 150
	DropUnroutable      Reason = 151
	DropNoEndpoint      Reason = 152
	DropUnsupportedL2   Reason = 166
	DropFIB             Reason = 169
	DropVLAN            Reason = 182
	DropTTLExceeded     Reason = 196
	DropHostNotReady    Reason = 202
	DropPodNotReady     Reason = 203
	DropMulticast       Reason = 220
	DropTunnelSource    Reason = 221
)
