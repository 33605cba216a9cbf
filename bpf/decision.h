/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a program makes of a packet. Parsing fills struct packet, judging fills struct decision,
 * and finish.h alone acts upon it. Judging headers never touch the packet's bytes.
 */
#pragma once
#include "lib.h"

/* What kind of packet the transport header makes it. */
enum kind {
	KIND_PLAIN = 0, /* the ports are known: TCP, UDP, SCTP, echo, and protocols without ports */
	KIND_EXTENSION, /* IPv6: what follows is an extension header; the slow path looks further */
	KIND_FRAGMENT,	/* not the first one: the ports are in weir_fragments, if anywhere */
	KIND_CONTROL,	/* ICMP that is no echo: each one is judged by itself */
	KIND_ERROR,	/* ICMP about another packet, which it quotes */
};

/* Of ICMP and ICMPv6. */
enum echo { ECHO_NONE = 0, ECHO_REQUEST = 1, ECHO_REPLY = 2 };

enum fragment_of { FRAGMENT_NONE = 0, FRAGMENT_FIRST = 1, FRAGMENT_LATER = 2 };

struct packet {
	struct addr src, dst;
	__u16 sport, dport; /* as in struct ct_key, network byte order; KIND_CONTROL and KIND_ERROR:
			       0 and the type */
	__u16 l4;	    /* offset of what follows the IP header */
	__u16 len;   /* of one packet on the wire, from the IP header on: a GSO packet's segment */
	__u8 family; /* AF_INET or AF_INET6 */
	__u8 proto;  /* IPv4 protocol, or the first IPv6 next header */
	__u8 ttl;    /* or hop limit */
	__u8 dont_fragment;
	__u8 kind; /* enum kind */
	__u8 tcp_flags;
	__u8 fragment; /* enum fragment_of */
	__u8 echo;     /* enum echo */
	__u32 dsr;     /* key of weir_dsr: the service that was asked, as another node says; or 0 */
	__u8 told;     /* enum event_kind: why there is an event of it; 0: there is none */
	__u8 how;      /* enum step_how; STEP_JUDGED: both ends are in struct work */
	__u8 kept;     /* 1: work.arrived is how the packet came */
	__u8 pad;
};

enum way {
	WAY_DROP = 0,
	WAY_PASS,     /* to the stack, as it is */
	WAY_ENDPOINT, /* into a pod of this node */
	WAY_TUNNEL,   /* to another node, wrapped */
	WAY_NEIGH,    /* to a neighbour on a device, as it is */
	WAY_BOUNCE,   /* back out of the device it came from */
};

struct decision {
	__u8 way;		   /* enum way */
	__u8 reason;		   /* enum reason */
	__u8 ttl;		   /* 1: this hop counts, decrement */
	__u8 host;		   /* 1: the packet comes from the host's own stack */
	__u32 identity;		   /* of the sender, for the tunnel's VNI */
	const struct endpoint *to; /* WAY_ENDPOINT */
	struct addr via;	   /* WAY_TUNNEL: the node; WAY_NEIGH: the next hop */
	__u32 ifindex;		   /* WAY_NEIGH */
	__u8 via_family;	   /* WAY_NEIGH */
	__u8 reject;		   /* WAY_DROP: the sender is to be told */
	__u8 only_translated; /* in: entries of other connections are somebody else's business */
	__u8 translate;	      /* 1: struct packet says what addresses and ports the packet gets */
	__u8 dsr;	      /* enum dsr: whether the packet says which service was asked */
};

/* A decision for a packet that ends here; from 130 on the reason is a drop. */
static __always_inline void decide(struct decision *d, __u8 way, __u8 reason)
{
	d->way = way;
	d->reason = reason;
}
