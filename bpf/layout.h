/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Everything that crosses between C and Go: the structs of the maps, the load-time constants and
 * the enums. It is the only definition; `make generate` writes layout_gen.go from it.
 *
 * Rules: no holes (an LPM trie matches them), padding is named pad, sizes are asserted, fields in
 * network byte order have a wrapped type so that mixing orders does not compile.
 */
#pragma once
#include <linux/types.h>

/* An IPv6 address in network byte order; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
struct addr {
	__u32 w[4];
};

struct mac {
	__u8 bytes[6];
};

enum limits {
	/* A pod's host device has the interface index IFINDEX_BASE + its endpoint id. */
	IFINDEX_BASE = 1000000,
	ENDPOINTS_MAX = 16384,
	VLAN_BYPASS_MAX = 8,
	/* vlan_bypass[0] == VLAN_ALL lets every VLAN pass. */
	VLAN_ALL = 0xffff,
	/* A metric's index is place * REASONS + reason. */
	REASONS = 256,
	PLACES = 16,
};

/* Security identities that have a meaning of their own. */
enum identity {
	IDENTITY_UNKNOWN = 0,
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_HEALTH = 4,
	IDENTITY_INIT = 5,
	IDENTITY_REMOTE_NODE = 6,
};

/* Where a packet was judged: one for each program. */
enum place {
	PLACE_NONE = 0,
	PLACE_FROM_POD = 1,
	PLACE_TO_POD = 2,
	PLACE_FROM_OVERLAY = 3,
	PLACE_TO_OVERLAY = 4,
	PLACE_FROM_NETDEV = 5,
	PLACE_TO_NETDEV = 6,
	PLACE_FROM_HOST = 7,
	PLACE_TO_HOST = 8,
};

/*
 * What became of a packet. From 130 on it was not let through; the numbers up to 207 are those the
 * field knows from Cilium's drop reasons.
 */
enum reason {
	REASON_NONE = 0,
	REASON_TO_ENDPOINT = 64, /* redirected into a pod of this node */
	REASON_TO_OVERLAY = 65,	 /* redirected into the tunnel */
	REASON_TO_NETWORK = 66,	 /* redirected to a neighbour on the underlay */
	REASON_TO_STACK = 67,	 /* left to the host's network stack to route */
	REASON_TO_HOST = 68,	 /* for this node itself */
	REASON_PASSED = 69,	 /* seen, not judged, let on */
	REASON_ARP_ANSWERED = 70,
	REASON_NDP_ANSWERED = 71,
	REASON_LINK_CHATTER = 72, /* MLD, IGMP, router solicitation, duplicate address detection */
	REASON_VLAN_BYPASSED = 73,
	REASON_FRAGMENTED = 74, /* too big, may be fragmented: left to the stack for that */
	DROP_INVALID_SOURCE_IP = 132,
	DROP_INVALID_PACKET = 134,
	DROP_FRAG_NEEDED = 136,	   /* the host's stack answers with ICMP */
	DROP_UNSUPPORTED_L3 = 139, /* a family that is switched off */
	DROP_WRITE_ERROR = 141,
	DROP_TUNNEL_KEY = 147,
	DROP_UNKNOWN_TARGET = 150, /* an address that cannot be anybody's, or ARP for a stranger */
	DROP_UNROUTABLE = 151,	   /* in this node's pod CIDR, and no pod has it */
	DROP_NO_ENDPOINT = 152,	   /* came through the tunnel for no pod of this node */
	DROP_UNSUPPORTED_L2 = 166,
	DROP_FIB = 169, /* no route; the host's stack answers with ICMP */
	DROP_VLAN = 182,
	DROP_TTL_EXCEEDED = 196, /* the host's stack answers with ICMP */
	DROP_HOST_NOT_READY = 202,
	DROP_POD_NOT_READY = 203, /* its row is not in weir_endpoints */
	DROP_MULTICAST = 220,	  /* pods have no multicast routing */
	DROP_TUNNEL_SOURCE = 221, /* from a node that does not have the inner sender */
};

/* Flags of an ipcache entry. */
enum ipcache_flag {
	IPCACHE_HOST = 1,	/* an address of this node */
	IPCACHE_LOCAL_CIDR = 2, /* this node's pod CIDR: addresses no pod has */
};

/* Flags of an endpoint. */
enum endpoint_flag {
	ENDPOINT_HEALTH = 1, /* the node's health endpoint, no pod */
};

/* A pod of this node: value of weir_endpoints, whose index is the endpoint's id. */
struct endpoint {
	struct addr ipv4; /* all zero: it has none */
	struct addr ipv6; /* all zero: it has none */
	__u32 id;	  /* 0: the slot is free */
	__u32 ifindex;	  /* host device */
	__u32 identity;
	__u16 flags;	     /* enum endpoint_flag */
	struct mac mac;	     /* of the pod's interface */
	struct mac node_mac; /* of the host device: the gateway's, as the pod sees it */
	__u16 pad[3];
};

/* An address prefix: key of weir_ipcache. */
struct ipcache_key {
	__u32 prefix_len; /* bits of addr that count: an IPv4 /24 is 96 + 24 */
	struct addr addr;
};

/* Who has a prefix and how to get there: value of weir_ipcache. */
struct ipcache_entry {
	struct addr tunnel_endpoint; /* the node that has it; all zero: not on another node */
	__u32 identity;
	__u32 endpoint; /* id of a pod of this node, or 0 */
	__u8 flags;	/* enum ipcache_flag */
	__u8 encrypt_key;
	__u16 pad;
	__u32 pad2;
};

/* Value of weir_metrics, one for each CPU. */
struct metric {
	__u64 packets; /* on the wire: a GSO packet counts its segments */
	__u64 bytes;   /* from the Ethernet header on */
};

/*
 * Every constant a program may branch on. Set before load, frozen after it, so that the verifier
 * removes what it excludes. One value for all programs of a node.
 */
struct config {
	struct addr router_ipv4; /* of weir_host: the gateway of all pods; all zero: family off */
	struct addr router_ipv6;
	struct addr node_ipv4; /* this node's address on the underlay; all zero: it has none */
	struct addr node_ipv6;
	__u64 build; /* fingerprint of the object files: tells a pinned program's version */
	__u32 tunnel_ifindex; /* 0: native routing, no overlay */
	__u32 host_ifindex;   /* weir_host */
	__u32 tunnel_mtu;     /* largest packet that fits the tunnel, from the IP header on */
	__u16 vlan_bypass[8]; /* ids that pass unjudged; 0 ends the list, VLAN_ALL is all */
	__u8 ipv4;	      /* 1: the family is on */
	__u8 ipv6;
	__u8 host_routing;  /* 1: by bpf_redirect_peer and _neigh; 0: legacy, through the host's
			       stack */
	__u8 underlay_ipv6; /* 1: the tunnel's outer addresses are IPv6 */
	__u32 pad[2];
};

_Static_assert(sizeof(struct addr) == 16, "addr");
_Static_assert(sizeof(struct mac) == 6, "mac");
_Static_assert(sizeof(struct endpoint) == 64, "endpoint: one cache line");
_Static_assert(sizeof(struct ipcache_key) == 20, "ipcache_key");
_Static_assert(sizeof(struct ipcache_entry) == 32, "ipcache_entry");
_Static_assert(sizeof(struct metric) == 16, "metric");
_Static_assert(sizeof(struct config) == 112, "config");
