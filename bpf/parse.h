/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packet bytes to struct packet.
 *
 * parse() accepts an Ethernet frame whose IPv4 or IPv6 header is whole and agrees with the frame's
 * length, and fills addresses (IPv4 mapped), family, protocol, TTL and the length of one packet on
 * the wire. It returns REASON_NONE, or why the packet is refused. Bounds are exact: headers that
 * are not in the linear part are pulled once.
 *
 * Transport headers, extension headers and fragments are the business of ports.h.
 */
#pragma once
#include "config.h"
#include "decision.h"

#define L3 ETH_HLEN /* offset of the IP header: VLAN tags are never in the bytes */

static __always_inline void *data_of(struct __sk_buff *skb)
{
	return (void *)(long)skb->data;
}

static __always_inline void *end_of(struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

/* Makes the first len bytes linear. Pointers into the packet are void after it. */
static __always_inline int need(struct __sk_buff *skb, __u32 len)
{
	if (data_of(skb) + len <= end_of(skb))
		return 0;
	if (bpf_skb_pull_data(skb, len))
		return -1;
	return data_of(skb) + len <= end_of(skb) ? 0 : -1;
}

/* Length of one segment of a GSO packet from the IP header on. */
static __always_inline __u16 segment_len(struct __sk_buff *skb, struct packet *p)
{
	__u8 doff;

	if (p->proto == IPPROTO_UDP)
		return p->l4 - L3 + sizeof(struct udphdr) + skb->gso_size;
	if (bpf_skb_load_bytes(skb, p->l4 + 12, &doff, 1))
		return p->l4 - L3 + skb->gso_size;
	return p->l4 - L3 + (doff >> 4) * 4 + skb->gso_size;
}

static __always_inline __u8 parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr *ip;
	__u32 len;

	if (need(skb, L3 + sizeof(*ip)))
		return DROP_INVALID_PACKET;
	ip = data_of(skb) + L3;
	if ((void *)(ip + 1) > end_of(skb))
		return DROP_INVALID_PACKET;
	if (ip->version != 4 || ip->ihl < 5)
		return DROP_INVALID_PACKET;
	p->src = addr_from_ipv4(ip->saddr);
	p->dst = addr_from_ipv4(ip->daddr);
	p->family = AF_INET;
	p->proto = ip->protocol;
	p->ttl = ip->ttl;
	p->l4 = L3 + ip->ihl * 4;
	p->dont_fragment = !!(ip->frag_off & bpf_htons(0x4000));
	if (ip->frag_off & bpf_htons(0x1fff))
		p->kind = KIND_FRAGMENT;
	else if (ip->frag_off & bpf_htons(0x2000))
		p->fragment = FRAGMENT_FIRST;
	len = bpf_ntohs(ip->tot_len);
	if (skb->gso_size) {
		p->len = segment_len(skb, p);
		return REASON_NONE;
	}
	if (len < ip->ihl * 4 || len > skb->len - L3)
		return DROP_INVALID_PACKET;
	p->len = len;
	return REASON_NONE;
}

static __always_inline __u8 parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6hdr *ip6;
	__u32 len;

	if (need(skb, L3 + sizeof(*ip6)))
		return DROP_INVALID_PACKET;
	ip6 = data_of(skb) + L3;
	if ((void *)(ip6 + 1) > end_of(skb))
		return DROP_INVALID_PACKET;
	if (ip6->version != 6)
		return DROP_INVALID_PACKET;
	__builtin_memcpy(&p->src, &ip6->saddr, sizeof(p->src));
	__builtin_memcpy(&p->dst, &ip6->daddr, sizeof(p->dst));
	p->family = AF_INET6;
	p->proto = ip6->nexthdr;
	p->ttl = ip6->hop_limit;
	p->l4 = L3 + sizeof(*ip6);
	p->dont_fragment = 1;
	/* An IPv4-mapped address is never on a wire: it would pass for a pod's IPv4 address. */
	if (is_mapped(&p->src) || is_mapped(&p->dst))
		return DROP_INVALID_PACKET;
	len = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	if (skb->gso_size) {
		p->len = segment_len(skb, p);
		return REASON_NONE;
	}
	if (len > skb->len - L3)
		return DROP_INVALID_PACKET;
	p->len = len;
	return REASON_NONE;
}

/* Whether pods have the family or not: the host may. */
static __always_inline __u8 parse_any(struct __sk_buff *skb, struct packet *p)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(skb, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(skb, p);
	return DROP_UNSUPPORTED_L2;
}

static __always_inline __u8 parse(struct __sk_buff *skb, struct packet *p)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return config.ipv4 ? parse_ipv4(skb, p) : DROP_UNSUPPORTED_L3;
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return config.ipv6 ? parse_ipv6(skb, p) : DROP_UNSUPPORTED_L3;
	return DROP_UNSUPPORTED_L2;
}

static __always_inline int is_ipv6_link_local(const struct addr *a)
{
	return (a->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline int is_multicast(const struct packet *p)
{
	if (p->family == AF_INET)
		return (p->dst.w[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) ||
		       p->dst.w[3] == 0xffffffff;
	return (p->dst.w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* Unspecified and loopback addresses have no business on a wire (RFC 1122 3.2.1.3, RFC 4291 2.5).
 */
static __always_inline int is_martian(const struct packet *p, const struct addr *a)
{
	if (p->family == AF_INET)
		return !(a->w[3] & bpf_htonl(0xff000000)) ||
		       (a->w[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !(a->w[0] | a->w[1] | a->w[2]) && (a->w[3] & bpf_htonl(0xfffffffe)) == 0;
}
