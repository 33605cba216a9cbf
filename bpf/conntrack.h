/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The connection table, which is the cache of everything that was decided for a connection, too.
 *
 * An entry holds as long as its stamp is what the epochs of both ends make. An endpoint of this
 * node has the epoch of its policy; any other address has the generation of its slot, which
 * changes with its owner, identity or node. So nothing that changes for one endpoint or address
 * costs the connections of another anything, and nothing needs to be searched for and deleted.
 *
 * Whoever makes an entry reads the epochs before anything else that the verdict depends on:
 * what changes in between makes the entry void, not wrong.
 */
#pragma once
#include "config.h"
#include "decision.h"
#include "maps.h"

enum { CT_TABLE = 0, CT_PREDECESSOR = 1 };

/* Also bpf.AddrSlot in Go. */
static __always_inline __u32 addr_slot(const struct addr *a)
{
	return ((a->w[0] ^ a->w[1] ^ a->w[2] ^ a->w[3]) * 0x9E3779B1u) >> 18;
}

_Static_assert(GENERATIONS == 1 << 14, "addr_slot");

static __always_inline int is_before(const struct packet *p)
{
	if (p->src.w[3] != p->dst.w[3])
		return p->src.w[3] < p->dst.w[3];
	if (p->src.w[2] != p->dst.w[2])
		return p->src.w[2] < p->dst.w[2];
	if (p->src.w[1] != p->dst.w[1])
		return p->src.w[1] < p->dst.w[1];
	if (p->src.w[0] != p->dst.w[0])
		return p->src.w[0] < p->dst.w[0];
	return p->sport <= p->dport;
}

/* Returns the side of the sender: 0 when it is key->a. */
static __always_inline __u8 ct_key_set(const struct packet *p, struct ct_key *key)
{
	__u8 side = !is_before(p);

	key->proto = p->proto;
	key->echo = p->echo ? 1 + (side ^ (p->echo == ECHO_REPLY)) : 0;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
	if (!side) {
		key->a = p->src;
		key->b = p->dst;
		key->port_a = p->sport;
		key->port_b = p->dport;
		return 0;
	}
	key->a = p->dst;
	key->b = p->src;
	key->port_a = p->dport;
	key->port_b = p->sport;
	return 1;
}

static __always_inline struct ct_entry *ct_find(const struct ct_key *key, __u32 which)
{
	void *table = bpf_map_lookup_elem(&weir_ct, &which);

	return table ? bpf_map_lookup_elem(table, key) : 0;
}

static __always_inline struct ct_entry *ct_find_any(const struct ct_key *key)
{
	struct ct_entry *e = ct_find(key, CT_TABLE);

	return e ? e : ct_find(key, CT_PREDECESSOR);
}

/* Whether both ends of a TCP connection are done, or one has reset. */
static __always_inline int is_over(__u8 flags)
{
	return flags & (CT_RESET | CT_RESET_REPLY) ||
	       (flags & (CT_FIN_ORIGINAL | CT_FIN_REPLY)) == (CT_FIN_ORIGINAL | CT_FIN_REPLY);
}

static __always_inline int is_translated(const struct ct_entry *e)
{
	return e->flags & (CT_IS_FORWARD | CT_IS_REVERSE);
}

/* 0: the packet is one of who opened the connection. */
static __always_inline __u8 ct_dir(const struct ct_entry *e, __u8 side)
{
	return side ^ e->opener;
}

/* 0: the endpoint has no policy, and nothing may hold. */
static __always_inline __u32 epoch_of(const struct addr *a, __u32 endpoint)
{
	const struct policy *own, *host;
	__u32 slot, zero = 0;
	const __u32 *generation;

	if (endpoint) {
		own = bpf_map_lookup_elem(&weir_policy, &endpoint);
		return own ? own->epoch : 0;
	}
	slot = addr_slot(a) & (GENERATIONS - 1);
	generation = bpf_map_lookup_elem(&weir_generations, &slot);
	if (!generation)
		return 0;
	if (!config.host_firewall)
		return *generation + 1;
	host = bpf_map_lookup_elem(&weir_policy, &zero);
	return host ? *generation + 1 + (host->epoch << 16) : 0;
}

static __always_inline __u32 stamp_of(__u32 opener, __u32 other)
{
	return opener * 0x9E3779B1u + other;
}

/* What is known of a connection after another packet. */
static __always_inline __u8 flags_after(__u8 flags, __u8 dir, __u8 tcp_flags)
{
	__u8 reset = dir ? CT_RESET_REPLY : CT_RESET;

	if (dir)
		flags |= CT_REPLIED;
	else if (flags & CT_REPLIED)
		flags |= CT_ESTABLISHED;
	if (tcp_flags & 1) /* FIN */
		flags |= dir ? CT_FIN_REPLY : CT_FIN_ORIGINAL;
	/* Whoever has reset sends nothing more. If it does, the reset was another's, who knew the
	 * ports and not the sequence number, and the receiver has ignored it. */
	return tcp_flags & 4 /* RST */ ? flags | reset : flags & ~reset;
}

/* Flags that there is an event of when they are set. */
static __always_inline __u8 told_flags(void)
{
	__u8 ends = CT_FIN_ORIGINAL | CT_FIN_REPLY | CT_RESET | CT_RESET_REPLY;

	return config.monitor == MONITOR_MAXIMUM ? ends : ends | CT_REPLIED;
}

/* The number of a connection's interval: each begins them at another time, by its ports, or all
 * would be told of in the same moment. */
static __always_inline __u32 interval_of(const struct ct_key *key, __u32 jiffies)
{
	__u32 at = jiffies + key->port_a + key->port_b;

	return (__u64)at * config.monitor_rate >> 32;
}

/* Whether there is an event of a packet of a connection that goes on. before, now: when it was
 * seen. One number of all that there may be to say: each branch is one that the verifier walks all
 * that follows for. */
static __always_inline __u32 is_news(const struct ct_key *key, __u8 was, __u8 flags, __u32 before,
				     __u32 now)
{
	if (config.monitor == MONITOR_OFF)
		return 0;
	return (flags & ~was & told_flags()) | (interval_of(key, before) ^ interval_of(key, now));
}

/* Counts a packet that is let through and notes what its TCP flags say. Returns is_news. */
static __always_inline __u32 ct_account(struct ct_entry *e, const struct ct_key *key, __u8 dir,
					__u8 tcp_flags, __u32 segments, __u32 bytes)
{
	__u32 before = e->seen, now = bpf_jiffies64();
	__u8 was = e->flags, flags;

	dir &= 1;
	flags = flags_after(was, dir, tcp_flags);
	e->seen = now;
	e->packets[dir] += segments;
	e->bytes[dir] += bytes;
	if (flags != was)
		e->flags = flags;
	return is_news(key, was, flags, before, now);
}

/* The same for an answer of a translated connection. */
static __always_inline __u32 reverse_account(struct ct_reverse *r, const struct ct_key *key,
					     __u8 tcp_flags, __u32 segments, __u32 bytes)
{
	__u32 low = r->bytes + bytes, before = r->seen, now = bpf_jiffies64();
	__u8 was = r->flags, flags = flags_after(was, 1, tcp_flags);

	r->seen = now;
	r->packets += segments;
	r->bytes_high += low < bytes;
	r->bytes = low;
	if (flags != was)
		r->flags = flags;
	return is_news(key, was, flags, before, now);
}

/* A packet of the opener counts for the rules that allowed the connection. */
static __always_inline void rule_account(__u32 rule, __u32 segments, __u32 bytes)
{
	struct metric *m;

	if (!rule)
		return;
	m = bpf_map_lookup_elem(&weir_policy_counters, &rule);
	if (!m)
		return;
	m->packets += segments;
	m->bytes += bytes;
}
