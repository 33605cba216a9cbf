/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Addresses of services that no device has: this node answers ARP (RFC 826, RFC 5227) and neighbour
 * solicitations (RFC 4861) for those in weir_l2, with the MAC of the device that was asked. Every
 * other question passes untouched, broken ones too: the stack judges those.
 */
#pragma once
#include "neighbour.h"

/* What this node answers with for an address on the packet's device; null: nothing. */
static __always_inline struct l2_entry *l2_lookup(struct work *w, struct __sk_buff *skb,
						  const struct addr *target)
{
	w->l2_key.addr = *target;
	w->l2_key.ifindex = skb->ifindex;
	return bpf_map_lookup_elem(&weir_l2, &w->l2_key);
}

/* Whether a frame for this destination is for a device with this MAC. A device that listens to
 * everything sees those of others, too. */
static __always_inline int l2_is_for(const __u8 *dest, const struct mac *mac)
{
	return dest[0] & 1 || mac_equal(dest, mac->bytes);
}

/* Turns an ARP request for such an address into its answer. 0: it is none, and as it was. Who only
 * probes for an address gets the answer, too (RFC 5227 section 2.1.1); who announces one does not.
 */
STAGE int l2_arp(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct l2_entry *entry;
	__be32 sender, target;
	struct addr addr;
	struct arp *arp;

	if (!w || need(skb, sizeof(*arp)))
		return 0;
	arp = data_of(skb);
	if ((void *)(arp + 1) > end_of(skb) || !arp_is_ours(arp) ||
	    arp->operation != bpf_htons(ARP_REQUEST))
		return 0;
	__builtin_memcpy(&sender, arp->sender_ip, 4);
	__builtin_memcpy(&target, arp->target_ip, 4);
	if (sender == target)
		return 0;
	addr = addr_from_ipv4(target);
	entry = l2_lookup(w, skb, &addr);
	if (!entry || !l2_is_for(arp->eth.h_dest, &entry->mac))
		return 0;
	arp_turn(arp, sender, target, &entry->mac);
	__sync_fetch_and_add(&entry->responses, 1);
	return REASON_ARP_ANSWERED;
}

/* Whether dst is where a solicitation of the target goes: itself, or its solicited-node group
 * (RFC 4291 section 2.7.1). */
static __always_inline int nd_is_for(const struct addr *dst, const struct addr *target)
{
	return addr_equal(dst, target) ||
	       (dst->w[0] == bpf_htonl(0xff020000) && !dst->w[1] && dst->w[2] == bpf_htonl(1) &&
		dst->w[3] == (target->w[3] | bpf_htonl(0xff000000)));
}

/* Whether options of len octets are whole, and none says where one is whom nobody could answer
 * (RFC 4861 section 7.1.1). */
static __always_inline int nd_options_fit(const struct solicitation *s, __u32 len, int unspecified)
{
	__u32 i, at = 0;

	for (i = 0; i < SOLICITATION_OPTIONS / 8; i++) {
		if (at >= len || at > SOLICITATION_OPTIONS - 8)
			break;
		if (!s->options[at + 1] || (unspecified && s->options[at] == ND_OPTION_SOURCE_MAC))
			return 0;
		at += s->options[at + 1] * 8;
	}
	return at == len;
}

/* Reads the solicitation in w->p. 0: it is none, or not as RFC 4861 section 7.1.1 has it. */
static __always_inline int nd_read(struct __sk_buff *skb, struct work *w)
{
	struct solicitation *s = &w->asked;
	const struct packet *p = &w->p;
	__u32 sum, len = (__u32)p->len - sizeof(struct ipv6hdr);

	if (len < sizeof(*s) - SOLICITATION_OPTIONS || len > sizeof(*s))
		return 0;
	__builtin_memset(s, 0, sizeof(*s));
	if (bpf_skb_load_bytes(skb, L3 + sizeof(struct ipv6hdr), s, len) ||
	    s->type != ICMPV6_NEIGHBOUR_SOLICITATION || s->code)
		return 0;
	sum = bpf_htonl(len + IPPROTO_ICMPV6);
	sum = bpf_csum_diff(0, 0, (__be32 *)&p->src, 2 * sizeof(p->src), sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)s, sizeof(*s), sum);
	return fold(fold(sum)) == 0xffff &&
	       nd_options_fit(s, len - (sizeof(*s) - SOLICITATION_OPTIONS), addr_is_zero(&p->src));
}

/* Turns a neighbour solicitation for such an address into its advertisement. 0: it is none, and as
 * it was. */
STAGE int l2_ndp(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct l2_entry *entry;
	__u8 dest[ETH_ALEN];
	int unspecified;

	if (!w || !nd_read(skb, w))
		return 0;
	unspecified = addr_is_zero(&w->p.src);
	if (is_mapped(&w->asked.target) || !nd_is_for(&w->p.dst, &w->asked.target) ||
	    (unspecified && addr_equal(&w->p.dst, &w->asked.target)) ||
	    (w->p.src.w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
		return 0;
	entry = l2_lookup(w, skb, &w->asked.target);
	if (!entry || bpf_skb_load_bytes(skb, 0, dest, sizeof(dest)) ||
	    !l2_is_for(dest, &entry->mac))
		return 0;
	advertise_begin(w, &w->asked.target, unspecified ? ND_OVERRIDE : ND_SOLICITED | ND_OVERRIDE,
			&entry->mac);
	if (advertise(skb))
		return DROP_WRITE_ERROR;
	__sync_fetch_and_add(&entry->responses, 1);
	return REASON_NDP_ANSWERED;
}

/* Decides about what one of the two stages has found; 0: nothing. */
static __always_inline int l2_decide(int reason, struct decision *d)
{
	if (reason)
		decide(d, reason == DROP_WRITE_ERROR ? WAY_DROP : WAY_BOUNCE, reason);
	return reason;
}

/* What is no IP packet: answered, or 0. */
static __always_inline int l2_answer_link(struct __sk_buff *skb, struct decision *d)
{
	if (!config.l2 || !config.ipv4 || skb->protocol != bpf_htons(ETH_P_ARP))
		return 0;
	return l2_decide(l2_arp(skb), d);
}

/* What is one, and parsed. */
static __always_inline int l2_answer(struct __sk_buff *skb, const struct packet *p,
				     struct decision *d)
{
	if (!config.l2 || !config.ipv6 || p->family != AF_INET6 || p->proto != IPPROTO_ICMPV6 ||
	    p->ttl != 255)
		return 0;
	return l2_decide(l2_ndp(skb), d);
}
