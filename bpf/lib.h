/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The kernel's and libbpf's declarations, and the few words all other headers use. */
#pragma once
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "layout.h"

#define EEXIST 17
#define AF_INET 2
#define AF_INET6 10

/* Word 2 of an IPv4-mapped address, network byte order. */
#define V4_MAPPED bpf_htonl(0x0000ffff)

static __always_inline int addr_equal(const struct addr *a, const struct addr *b)
{
	return a->w[3] == b->w[3] && a->w[2] == b->w[2] && a->w[1] == b->w[1] && a->w[0] == b->w[0];
}

static __always_inline int addr_is_zero(const struct addr *a)
{
	return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}

static __always_inline int is_mapped(const struct addr *a)
{
	return a->w[2] == V4_MAPPED && !a->w[0] && !a->w[1];
}

static __always_inline int mac_equal(const __u8 *a, const __u8 *b)
{
	__u8 i, differs = 0;

#pragma unroll
	for (i = 0; i < ETH_ALEN; i++)
		differs |= a[i] ^ b[i];
	return !differs;
}

static __always_inline struct addr addr_from_ipv4(__be32 ip)
{
	return (struct addr){{0, 0, V4_MAPPED, ip}};
}

/* The compiler keeps what is written before it before what is written after it. */
#define barrier() asm volatile("" ::: "memory")
