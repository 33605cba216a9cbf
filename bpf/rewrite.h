/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The bytes of a packet that forwarding changes: TTL or hop limit, and the Ethernet addresses. */
#pragma once
#include "parse.h"

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* One hop less. The caller has seen that more than one was left. */
static __always_inline int ttl_decrement(struct __sk_buff *skb, const struct packet *p)
{
	if (p->family == AF_INET) {
		struct iphdr *ip = data_of(skb) + L3;

		if ((void *)(ip + 1) > end_of(skb))
			return -1;
		ip->ttl = p->ttl - 1;
		/* The word of TTL and protocol is 0x100 less: RFC 1624, in the packet's byte order.
		 */
		ip->check = ~fold((__u16)~ip->check + (__u16)~bpf_htons(0x0100));
	} else {
		struct ipv6hdr *ip6 = data_of(skb) + L3;

		if ((void *)(ip6 + 1) > end_of(skb))
			return -1;
		ip6->hop_limit = p->ttl - 1;
		/* No header checksum absorbs the change: a NIC's sum over the packet must. */
		bpf_csum_update(skb, (__u16)~bpf_htons(1));
	}
	return 0;
}

/* Addresses the frame to a pod, from its gateway. */
static __always_inline int macs_set(struct __sk_buff *skb, const struct endpoint *to)
{
	struct ethhdr *eth = data_of(skb);

	if ((void *)(eth + 1) > end_of(skb))
		return -1;
	__builtin_memcpy(eth->h_dest, &to->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, &to->node_mac, ETH_ALEN);
	return 0;
}
