/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The packet walk: each program tells what it saw of the packets that somebody follows, which map
 * it asked, and what it did. While nobody does, a packet costs each program two looks at one word
 * of weir_walk.
 *
 *   walk_came   notes a packet before anything of it is translated
 *   walk_step   says what was made of it, once for each program, if it is one of those
 */
#pragma once
#include "conntrack.h"
#include "wanted.h"
#include "work.h"

static __always_inline void walk_came(struct packet *p)
{
	if (!walk_wanted())
		return;
	work_of(p)->arrived = *p;
	p->kept = 1;
}

/* Without a branch: the verifier walks each once for every one before it. */
static __always_inline __u32 is_end(const struct addr *want, __u16 port, const struct addr *a,
				    __u16 has)
{
	__u32 any = want->w[0] | want->w[1] | want->w[2] | want->w[3];
	__u32 differs = (want->w[0] ^ a->w[0]) | (want->w[1] ^ a->w[1]) | (want->w[2] ^ a->w[2]) |
			(want->w[3] ^ a->w[3]);

	return (!any | !differs) & (!port | (port == has));
}

/* Whether the packet as it came, or as it goes on, is between the ends of a row of weir_walk. */
STAGE int is_between(__u32 row, __u32 came)
{
	const struct walk *walk = walk_wanted();
	struct work *w = work_slot();
	const struct walk_filter *f;
	const struct packet *p;
	__u32 there, back;

	if (!walk || !w)
		return 0;
	f = &walk->filter[row & (WALK_FILTERS - 1)];
	p = came ? &w->arrived : &w->p;
	there = is_end(&f->a, f->port_a, &p->src, p->sport);
	there &= is_end(&f->b, f->port_b, &p->dst, p->dport);
	back = is_end(&f->a, f->port_a, &p->dst, p->dport);
	back &= is_end(&f->b, f->port_b, &p->src, p->sport);
	return f->used & (!f->proto | (f->proto == p->proto)) & (there | back);
}

static __always_inline int is_followed(void)
{
	__u32 row;

	for (row = 0; row < WALK_FILTERS; row++)
		if (is_between(row, 0) || is_between(row, 1))
			return 1;
	return 0;
}

/* The identity of who has an address: of a pod of this node that of its row, as policies see it. */
static __always_inline __u32 identity_of(struct work *w, const struct addr *a)
{
	const struct ipcache_entry *entry;
	const struct endpoint *ep;
	__u32 id;

	w->prefix.prefix_len = 128;
	w->prefix.addr = *a;
	entry = bpf_map_lookup_elem(&weir_ipcache, &w->prefix);
	if (!entry)
		return IDENTITY_UNKNOWN;
	id = entry->endpoint;
	ep = id ? bpf_map_lookup_elem(&weir_endpoints, &id) : 0;
	return ep && ep->id ? ep->identity : entry->identity;
}

/* What the connection's entry says. */
static __always_inline void step_entry(struct work *w, struct step *s)
{
	const struct ct_entry *e;
	const struct ct_forward *f;
	__u8 side = ct_key_set(&w->arrived, &w->ended), dir;

	e = ct_find_any(&w->ended);
	if (!e)
		return;
	dir = ct_dir(e, side) & 1;
	s->reply = dir;
	s->flags = e->flags;
	s->stamp = e->stamp;
	s->way = e->way[dir];
	s->out = e->out[dir];
	if (e->flags & CT_IS_REVERSE) {
		s->frontend = ((const struct ct_reverse *)e)->frontend;
		return;
	}
	s->rule[0] = e->rule[0];
	s->rule[1] = e->rule[1];
	if (!(e->flags & CT_IS_FORWARD))
		return;
	f = (const struct ct_forward *)e;
	if (f->world && !dir)
		s->src_identity = f->world;
	s->backend = f->backend;
	s->source = f->source;
}

/* What judging it has found. */
static __always_inline void step_judged(const struct work *w, struct step *s)
{
	s->reply = w->dir & 1;
	s->src_identity = w->ends[w->dir & 1].identity;
	s->dst_identity = w->ends[!w->dir].identity;
	s->rule[0] = w->rule[0];
	s->rule[1] = w->rule[1];
	if (s->reason == DROP_POLICY || s->reason == DROP_POLICY_DENY) {
		s->rule[w->ingress & 1] = w->denied_by;
		s->endpoint = w->denied_at;
	}
}

/* Where the routing table sends it. */
static __always_inline void step_route(const struct work *w, struct step *s)
{
	if (s->reason != REASON_TO_NETWORK)
		return;
	s->out_ifindex = w->fib.ifindex;
	if (w->p.family == AF_INET)
		s->via = addr_from_ipv4(w->fib.ipv4_dst);
	else
		__builtin_memcpy(&s->via, w->fib.ipv6_dst, sizeof(s->via));
}

/* Says what the program at a place has made of w->p, if that is followed. */
STAGE int walk_step(__u32 place, __u32 reason, __u32 ifindex, __u32 len)
{
	struct work *w = work_slot();
	struct step *s;

	if (!w)
		return 0;
	if (!w->p.kept)
		w->arrived = w->p;
	if (!is_followed())
		return 0;
	s = &w->step;
	__builtin_memset(s, 0, sizeof(*s));
	s->time = bpf_ktime_get_ns();
	s->came_src = w->arrived.src;
	s->came_dst = w->arrived.dst;
	s->came_sport = w->arrived.sport;
	s->came_dport = w->arrived.dport;
	s->src = w->p.src;
	s->dst = w->p.dst;
	s->sport = w->p.sport;
	s->dport = w->p.dport;
	s->place = place;
	s->reason = reason;
	s->ifindex = ifindex;
	s->len = len;
	s->family = w->p.family;
	s->proto = w->p.proto;
	s->tcp_flags = w->p.tcp_flags;
	s->ttl = w->arrived.ttl;
	s->how = w->p.how;
	s->endpoint = ENDPOINTS_MAX;
	s->src_identity = identity_of(w, &s->src);
	s->dst_identity = identity_of(w, &s->dst);
	step_entry(w, s);
	if (s->how == STEP_JUDGED)
		step_judged(w, s);
	step_route(w, s);
	s->fib = cause_fib(w, reason);
	s->mtu = cause_mtu(w, reason);
	bpf_ringbuf_output(&weir_steps, s, sizeof(*s), BPF_RB_NO_WAKEUP);
	return 0;
}
