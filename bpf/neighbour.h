/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The gateway answers for itself: ARP (RFC 826) and neighbour solicitations (RFC 4861) for the
 * router's addresses get the MAC of the pod's own host device, so that no pod needs another
 * neighbour and the host's stack is never asked. Nobody else is answered for.
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
#define ND_OPTION_TARGET_MAC 2
#define ND_FLAGS bpf_htonl(0xe0000000) /* router, solicited, override */
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
	if (arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_len != ETH_ALEN || arp->protocol_len != 4)
		return decide(d, WAY_DROP, DROP_INVALID_PACKET);
	if (arp->operation != bpf_htons(ARP_REQUEST) || sender == target || !sender)
		return decide(d, WAY_DROP,
			      REASON_LINK_CHATTER); /* gratuitous, or a probe (RFC 5227) */
	if (!config.ipv4 || target != config.router_ipv4.w[3])
		return decide(d, WAY_DROP, DROP_UNKNOWN_TARGET);
	if (sender != ep->ipv4.w[3])
		return decide(d, WAY_DROP, DROP_INVALID_SOURCE_IP);
	arp->operation = bpf_htons(ARP_REQUEST + 1);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	__builtin_memcpy(arp->target_ip, &sender, 4);
	__builtin_memcpy(arp->sender_mac, &ep->node_mac, ETH_ALEN);
	__builtin_memcpy(arp->sender_ip, &target, 4);
	__builtin_memcpy(arp->eth.h_dest, arp->eth.h_source, ETH_ALEN);
	__builtin_memcpy(arp->eth.h_source, &ep->node_mac, ETH_ALEN);
	decide(d, WAY_BOUNCE, REASON_ARP_ANSWERED);
}

/* Writes the advertisement, of w->mac to the sender of w->p, over the solicitation: both have room
 * for one option. */
STAGE int advertise(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct neighbour *n;
	__u32 sum;

	if (!w)
		return -1;
	n = &w->neighbour;
	__builtin_memset(n, 0, sizeof(*n));
	n->ip6.version = 6;
	n->ip6.payload_len = bpf_htons(32);
	n->ip6.nexthdr = IPPROTO_ICMPV6;
	n->ip6.hop_limit = 255;
	n->type = ICMPV6_NEIGHBOUR_ADVERTISEMENT;
	n->flags = ND_FLAGS;
	n->option = ND_OPTION_TARGET_MAC;
	n->option_len = 1;
	n->target = config.router_ipv6;
	__builtin_memcpy(&n->ip6.saddr, &n->target, sizeof(n->target));
	__builtin_memcpy(&n->ip6.daddr, &w->p.src, sizeof(w->p.src));
	n->mac = w->macs[1];
	/* Pseudo header (RFC 8200 section 8.1): the addresses, the length, the protocol. */
	sum = bpf_htonl(32 + IPPROTO_ICMPV6);
	sum = bpf_csum_diff(0, 0, (__be32 *)&n->ip6.saddr, 32, sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)&n->type, 32, sum);
	n->checksum = ~fold(fold(sum));
	if (bpf_skb_load_bytes(skb, ETH_ALEN, &w->macs[0], ETH_ALEN))
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
		w->macs[1] = ep->node_mac;
	if (advertise(skb))
		decide(d, WAY_DROP, DROP_WRITE_ERROR);
	else
		decide(d, WAY_BOUNCE, REASON_NDP_ANSWERED);
	return 1;
}
