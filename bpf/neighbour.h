/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The gateway answers for itself: ARP (RFC 826) and neighbour solicitations (RFC 4861) for the
 * router's addresses get the MAC of the pod's own host device, so that no pod needs another
 * neighbour and the host's stack is never asked. Nobody else is answered for; on the underlay that
 * is l2announce.h's.
 *
 * Both functions turn the request into its answer in place and decide WAY_BOUNCE.
 */
#pragma once
#include "rewrite.h"
#include "work.h"

#define ICMPV6_ROUTER_SOLICITATION 133
#define ICMPV6_NEIGHBOUR_SOLICITATION 135
#define ICMPV6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMPV6_MLD_FIRST 130
#define ICMPV6_MLD_LAST 132
#define ICMPV6_MLD2_REPORT 143
#define ND_OPTION_SOURCE_MAC 1
#define ND_OPTION_TARGET_MAC 2
#define ND_ROUTER bpf_htonl(0x80000000)
#define ND_SOLICITED bpf_htonl(0x40000000)
#define ND_OVERRIDE bpf_htonl(0x20000000)
#define ARP_REQUEST 1

/* RFC 826 with Ethernet and IPv4 filled in. */
struct arp {
	struct ethhdr eth;
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender_ip[4];
	__u8 target_mac[6];
	__u8 target_ip[4];
} __attribute__((packed));

/* Whether it is about IPv4 on Ethernet. */
static __always_inline int arp_is_ours(const struct arp *arp)
{
	return arp->hardware == bpf_htons(1) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_len == ETH_ALEN && arp->protocol_len == 4;
}

/* Turns the request for target by sender into its answer. */
static __always_inline void arp_turn(struct arp *arp, __be32 sender, __be32 target,
				     const struct mac *mac)
{
	arp->operation = bpf_htons(ARP_REQUEST + 1);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	__builtin_memcpy(arp->target_ip, &sender, 4);
	__builtin_memcpy(arp->sender_mac, mac, ETH_ALEN);
	__builtin_memcpy(arp->sender_ip, &target, 4);
	__builtin_memcpy(arp->eth.h_dest, arp->eth.h_source, ETH_ALEN);
	__builtin_memcpy(arp->eth.h_source, mac, ETH_ALEN);
}

static __always_inline void arp_answer(struct __sk_buff *skb, const struct endpoint *ep,
				       struct decision *d)
{
	struct arp *arp;
	__be32 sender, target;

	if (need(skb, sizeof(*arp)))
		return decide(d, WAY_DROP, DROP_INVALID_PACKET);
	arp = data_of(skb);
	if ((void *)(arp + 1) > end_of(skb))
		return decide(d, WAY_DROP, DROP_INVALID_PACKET);
	__builtin_memcpy(&sender, arp->sender_ip, 4);
	__builtin_memcpy(&target, arp->target_ip, 4);
	if (!arp_is_ours(arp))
		return decide(d, WAY_DROP, DROP_INVALID_PACKET);
	if (arp->operation != bpf_htons(ARP_REQUEST) || sender == target || !sender)
		return decide(d, WAY_DROP,
			      REASON_LINK_CHATTER); /* gratuitous, or a probe (RFC 5227) */
	if (!config.ipv4 || target != config.router_ipv4.w[3])
		return decide(d, WAY_DROP, DROP_UNKNOWN_TARGET);
	if (sender != ep->ipv4.w[3])
		return decide(d, WAY_DROP, DROP_INVALID_SOURCE_IP);
	arp_turn(arp, sender, target, &ep->node_mac);
	decide(d, WAY_BOUNCE, REASON_ARP_ANSWERED);
}

/* Says what advertise is to write, to the sender of w->p. */
static __always_inline void advertise_begin(struct work *w, const struct addr *target, __u32 flags,
					    const struct mac *mac)
{
	struct neighbour *n = &w->neighbour;

	__builtin_memset(n, 0, sizeof(*n));
	n->target = *target;
	n->flags = flags;
	n->mac = w->macs[1] = *mac;
}

/*
 * Writes the advertisement over the solicitation: both have room for one option. Who asks without
 * an address of its own wants to take the target for one: all nodes of the link hear that it is in
 * use (RFC 4861 section 7.2.4).
 */
STAGE int advertise(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct neighbour *n;
	__u32 sum;

	if (!w)
		return -1;
	n = &w->neighbour;
	n->ip6.version = 6;
	n->ip6.payload_len = bpf_htons(32);
	n->ip6.nexthdr = IPPROTO_ICMPV6;
	n->ip6.hop_limit = 255;
	n->type = ICMPV6_NEIGHBOUR_ADVERTISEMENT;
	n->option = ND_OPTION_TARGET_MAC;
	n->option_len = 1;
	__builtin_memcpy(&n->ip6.saddr, &n->target, sizeof(n->target));
	__builtin_memcpy(&n->ip6.daddr, &w->p.src, sizeof(w->p.src));
	if (addr_is_zero(&w->p.src)) {
		n->ip6.daddr.s6_addr[0] = 0xff;
		n->ip6.daddr.s6_addr[1] = 2;
		n->ip6.daddr.s6_addr[15] = 1;
	}
	/* Pseudo header (RFC 8200 section 8.1): the addresses, the length, the protocol. */
	sum = bpf_htonl(32 + IPPROTO_ICMPV6);
	sum = bpf_csum_diff(0, 0, (__be32 *)&n->ip6.saddr, 32, sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)&n->type, 32, sum);
	n->checksum = ~fold(fold(sum));
	if (addr_is_zero(&w->p.src))
		w->macs[0] = (struct mac){{0x33, 0x33, 0, 0, 0, 1}};
	else if (bpf_skb_load_bytes(skb, ETH_ALEN, &w->macs[0], ETH_ALEN))
		return -1;
	if (bpf_skb_change_tail(skb, L3 + sizeof(*n), 0))
		return -1;
	if (bpf_skb_store_bytes(skb, 0, w->macs, sizeof(w->macs), 0))
		return -1;
	return bpf_skb_store_bytes(skb, L3, n, sizeof(*n), 0);
}

/*
 * ICMPv6 of the link: returns 0 when the packet is none and is to be routed. Solicitations for the
 * router are answered whether they come from the pod's address or its link-local one.
 */
static __always_inline int ndp_answer(struct __sk_buff *skb, const struct packet *p,
				      const struct endpoint *ep, struct decision *d)
{
	struct addr target, router = config.router_ipv6;
	struct work *w;
	__u8 type;

	if (p->proto == IPPROTO_HOPOPTS && is_multicast(p)) { /* MLD comes with a router alert */
		decide(d, WAY_DROP, REASON_LINK_CHATTER);
		return 1;
	}
	if (p->proto != IPPROTO_ICMPV6 || bpf_skb_load_bytes(skb, p->l4, &type, 1))
		return 0;
	if ((type >= ICMPV6_MLD_FIRST && type <= ICMPV6_MLD_LAST) || type == ICMPV6_MLD2_REPORT ||
	    type == ICMPV6_ROUTER_SOLICITATION || type == ICMPV6_NEIGHBOUR_ADVERTISEMENT) {
		decide(d, WAY_DROP, REASON_LINK_CHATTER);
		return 1;
	}
	if (type != ICMPV6_NEIGHBOUR_SOLICITATION)
		return 0;
	if (addr_is_zero(&p->src)) { /* duplicate address detection (RFC 4862 section 5.4) */
		decide(d, WAY_DROP, REASON_LINK_CHATTER);
		return 1;
	}
	/* The option may be missing: everything up to the target must be there. */
	if (p->ttl != 255 || p->len < offsetof(struct neighbour, option) ||
	    bpf_skb_load_bytes(skb, L3 + offsetof(struct neighbour, target), &target,
			       sizeof(target))) {
		decide(d, WAY_DROP, DROP_INVALID_PACKET);
		return 1;
	}
	if (!addr_equal(&target, &router)) {
		decide(d, WAY_DROP, DROP_UNKNOWN_TARGET);
		return 1;
	}
	if (!addr_equal(&p->src, &ep->ipv6) && !is_ipv6_link_local(&p->src)) {
		decide(d, WAY_DROP, DROP_INVALID_SOURCE_IP);
		return 1;
	}
	w = work_slot();
	if (w)
		advertise_begin(w, &router, ND_ROUTER | ND_SOLICITED | ND_OVERRIDE, &ep->node_mac);
	if (advertise(skb))
		decide(d, WAY_DROP, DROP_WRITE_ERROR);
	else
		decide(d, WAY_BOUNCE, REASON_NDP_ANSWERED);
	return 1;
}
