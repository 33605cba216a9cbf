/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The transport header: ports, TCP flags, and what kind of packet it makes.
 *
 * ports_parse() needs the IP header parsed. It returns REASON_NONE, or why the packet is refused:
 * a header that is cut off. Bounds are exact: 8 octets, of TCP 14. Extension headers of IPv6 are
 * walked by ports_extension(), which only the slow path calls.
 */
#pragma once
#include "parse.h"

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_REDIRECT 5
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMPV6_ERROR_LAST 4 /* 1 to 4: RFC 4443 section 2.1 */
#define ICMPV6_INFORMATIONAL 128
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define OFFSET_MAX 0x3ff /* of a transport header: an IPv4 header, or IPv6 with extensions */
#define EXTENSIONS_MAX 6

static __always_inline int is_syn(const struct packet *p)
{
	return p->proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline void icmp_parse(struct packet *p, __u8 type, __u16 id)
{
	__u8 request = p->proto == IPPROTO_ICMP ? ICMP_ECHO_REQUEST : ICMPV6_ECHO_REQUEST;
	__u8 reply = p->proto == IPPROTO_ICMP ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;

	if (type == request) {
		p->sport = id;
		p->dport = bpf_htons(request);
		p->echo = ECHO_REQUEST;
	} else if (type == reply) {
		p->sport = bpf_htons(request);
		p->dport = id;
		p->echo = ECHO_REPLY;
	} else {
		p->sport = 0;
		p->dport = bpf_htons(type);
		p->kind = KIND_CONTROL;
		if (p->proto == IPPROTO_ICMPV6) {
			if (type >= 1 && type <= ICMPV6_ERROR_LAST)
				p->kind = KIND_ERROR;
		} else if (type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED ||
			   type == ICMP_PARAMETER_PROBLEM) {
			p->kind = KIND_ERROR;
		}
	}
}

/* The transport header at p->l4, which is no extension. */
static __always_inline __u8 transport_parse(struct __sk_buff *skb, struct packet *p)
{
	__u16 at = p->l4 & OFFSET_MAX, *ports;
	__u8 tcp = p->proto == IPPROTO_TCP;

	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP && p->proto != IPPROTO_SCTP &&
	    p->proto != IPPROTO_ICMP && p->proto != IPPROTO_ICMPV6) {
		p->sport = p->dport = 0;
		return REASON_NONE;
	}
	if (p->l4 > OFFSET_MAX)
		return DROP_INVALID_PACKET;
	if (p->l4 - L3 + (tcp ? sizeof(struct tcphdr) : 8) > p->len ||
	    need(skb, at + (tcp ? 20 : 8)))
		return DROP_INVALID_PACKET;
	ports = data_of(skb) + at;
	if ((void *)ports + 14 <= end_of(skb) && tcp)
		p->tcp_flags = ((__u8 *)ports)[13];
	if ((void *)ports + 8 > end_of(skb))
		return DROP_INVALID_PACKET;
	if (p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6) {
		icmp_parse(p, *(__u8 *)ports, ports[2]);
	} else {
		p->sport = ports[0];
		p->dport = ports[1];
	}
	return REASON_NONE;
}

static __always_inline int is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT ||
	       proto == IPPROTO_DSTOPTS || proto == IPPROTO_AH;
}

static __always_inline __u8 ports_parse(struct __sk_buff *skb, struct packet *p)
{
	if (p->kind == KIND_FRAGMENT)
		return REASON_NONE;
	if (p->family == AF_INET6 && is_extension(p->proto)) {
		p->kind = KIND_EXTENSION;
		return REASON_NONE;
	}
	return transport_parse(skb, p);
}

/* RFC 8200 sections 4.3 to 4.6, RFC 4302: what all extension headers begin with. */
struct extension {
	__u8 next, len;	 /* in units of 8 octets beyond the first, of AH of 4 beyond 2 */
	__be16 fragment; /* of a fragment header: offset, and whether more follow */
	__be32 id;
};

/* Walks the extension headers up to the transport header, or to that of a later fragment, and gives
 * the datagram's id. A packet with more of them than EXTENSIONS_MAX is refused, and one whose
 * headers do not end within it. */
static __always_inline __u8 ports_extension(struct __sk_buff *skb, struct packet *p, __u32 *id)
{
	struct extension x;
	int i;

	p->kind = KIND_PLAIN;
	for (i = 0; i < EXTENSIONS_MAX && is_extension(p->proto); i++) {
		if (p->l4 > OFFSET_MAX - 255 || p->l4 - L3 + sizeof(x) > p->len ||
		    bpf_skb_load_bytes(skb, p->l4, &x, sizeof(x)))
			return DROP_INVALID_PACKET;
		if (p->proto == IPPROTO_FRAGMENT) {
			*id = x.id;
			if (x.fragment & bpf_htons(0xfff8))
				p->kind = KIND_FRAGMENT;
			else if (x.fragment & bpf_htons(1))
				p->fragment = FRAGMENT_FIRST;
			x.len = 0;
		}
		p->l4 += p->proto == IPPROTO_AH ? (x.len + 2) * 4 : (x.len + 1) * 8;
		p->proto = x.next;
		if (p->kind == KIND_FRAGMENT)
			return REASON_NONE;
	}
	if (is_extension(p->proto) || p->l4 - L3 > p->len)
		return DROP_INVALID_PACKET;
	return transport_parse(skb, p);
}
