/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Writes down what was judged and routed: the connection's entry in weir_ct, or both entries of a
 * translated one.
 */
#pragma once
#include "conntrack.h"
#include "kubeproxy.h"
#include "dsr.h"
#include "nat.h"
#include "policy.h"
#include "told.h"
#include "work.h"

/* The way to an end, as an entry has it. */
static __always_inline void way_to(const struct end *end, __u8 *way, __u16 *out)
{
	*out = 0;
	if (end->endpoint) {
		*way = OUT_ENDPOINT;
		*out = end->endpoint;
	} else if (end->host) {
		*way = OUT_HOST;
	} else if (config.tunnel_ifindex && end->tunnel) {
		/* A node without a number costs each packet its lookups. */
		*way = end->node ? OUT_TUNNEL : OUT_UNKNOWN;
		*out = end->node;
	} else {
		*way = OUT_FIB;
	}
}

/* What was judged, into an entry: void while it is written, for whoever reads it meanwhile. */
static __always_inline void entry_fill(struct work *w, struct ct_entry *e)
{
	e->stamp = 0;
	barrier();
	e->rule[0] = w->rule[0];
	e->rule[1] = w->rule[1];
	way_to(&w->ends[1], &e->way[0], &e->out[0]);
	way_to(&w->ends[0], &e->way[1], &e->out[1]);
	if (beside_kube_proxy() && w->stack && e->way[1] == OUT_ENDPOINT)
		e->way[1] = OUT_STACK;
	if (w->dsr && e->way[1] == OUT_FIB) {
		e->way[1] = OUT_DSR;
		e->rule[0] = w->dsr; /* its opener is not here, so no rule of egress allowed it */
	}
	if (is_syn(&w->p) || is_translated(e)) {
		e->opener = w->side;
		e->flags = 0;
		e->packets[0] = e->packets[1] = 0;
		e->bytes[0] = e->bytes[1] = 0;
	}
	ct_account(e, &w->key, w->dir, w->p.tcp_flags, w->segments, w->bytes);
	barrier();
	e->stamp = w->stamp;
}

/* Who a client from outside is, for the node of its backend, which sees this node's address. */
static __always_inline __u8 world_of(const struct work *w)
{
	__u32 identity = w->ends[0].identity;

	return w->nat.is == CT_IS_FORWARD && w->nat.source == NAT_NODE && is_world(identity)
		       ? identity
		       : 0;
}

/* The same for the opener's packets of a translated connection. */
static __always_inline void forward_fill(struct work *w, struct ct_forward *f)
{
	f->stamp = 0;
	barrier();
	f->rule[0] = w->rule[0];
	f->rule[1] = w->rule[1];
	way_to(&w->ends[1], &f->way[0], &f->out[0]);
	way_to(&w->ends[0], &f->way[1], &f->out[1]);
	if (w->nat.source == NAT_NODE && f->way[0] == OUT_FIB)
		f->out[0] = w->nat.row;
	if (is_syn(&w->p) || !(f->flags & CT_IS_FORWARD)) {
		f->flags = 0;
		f->packets = 0;
		f->bytes = 0;
	}
	f->opener = w->side;
	f->flags |= CT_IS_FORWARD;
	f->backend = w->nat.backend;
	f->generation = w->nat.generation;
	f->nat_port = w->nat.port;
	f->source = w->nat.source;
	f->world = world_of(w);
	ct_account((struct ct_entry *)f, &w->key, 0, w->p.tcp_flags, w->segments, w->bytes);
	barrier();
	f->stamp = w->stamp;
}

/* And for the answers. */
static __always_inline void reverse_fill(struct work *w, struct ct_reverse *r)
{
	r->stamp = 0;
	barrier();
	way_to(&w->ends[1], &r->way[0], &r->out[0]);
	way_to(&w->ends[0], &r->way[1], &r->out[1]);
	if (w->dir)
		reverse_account(r, &w->key, w->p.tcp_flags, w->segments, w->bytes);
	barrier();
	r->stamp = w->stamp;
}

static __always_inline void fill(struct work *w, struct ct_entry *e)
{
	if (w->nat.is == CT_IS_FORWARD)
		forward_fill(w, (struct ct_forward *)e);
	else if (w->nat.is == CT_IS_REVERSE)
		reverse_fill(w, (struct ct_reverse *)e);
	else
		entry_fill(w, e);
}

/* What is to be inserted: the entry of the predecessor, if it has one, or an empty one. */
static __always_inline void entry_begin(struct work *w)
{
	const struct ct_entry *e = ct_find(&w->key, CT_PREDECESSOR);

	__builtin_memset(&w->next, 0, sizeof(w->next));
	w->next.opener = w->side;
	if (e && !is_syn(&w->p))
		w->next = *e;
}

static __always_inline long entry_insert(struct work *w, const struct ct_key *key)
{
	__u32 which = CT_TABLE;
	void *table = bpf_map_lookup_elem(&weir_ct, &which);

	return table ? bpf_map_update_elem(table, key, &w->next, BPF_NOEXIST) : -1;
}

/*
 * Writes the connection into the table. Negative when there is no room. An entry that is there is
 * written in place: replacing it would give its memory to another connection while others still
 * count in it. One that another CPU has just made says what this one would.
 *
 * expire may delete an idle entry while it is written here, so it is inserted all the same, which
 * fails as long as it is there. Both take the lock of the key's bucket: either expire sees the
 * stamp that was written before, or this finds the entry gone.
 */
static __always_inline int entry_store(struct work *w)
{
	struct ct_entry *e = ct_find(&w->key, CT_TABLE);
	long err;

	if (e)
		w->next = *e;
	else
		entry_begin(w);
	__builtin_memcpy(&w->was, w->next.rule, sizeof(w->was));
	if (e)
		fill(w, e);
	fill(w, &w->next);
	err = entry_insert(w, &w->key);
	if (err && err != -EEXIST)
		return err;
	w->flags = w->next.flags;
	w->p.told = told_why(w);
	return 0;
}

enum { OWN = 0, TAKEN = 1, NO_ROOM = 2, NAMELESS = 3 };

/* Whether the port that is tried is the tunnel's: what comes to it of UDP is no answer. */
static __always_inline int is_tunnels(const struct work *w)
{
	return w->p.proto == IPPROTO_UDP && w->p.sport == config.tunnel_port &&
	       w->nat.source == NAT_NODE && !w->nat.known;
}

/* Makes the answers' entry by the addresses that w->p has, if no other connection has it. */
STAGE int reverse_insert(void)
{
	struct work *w = work_slot();
	struct ct_reverse *r, *old;
	long err;

	if (!w)
		return NO_ROOM;
	if (is_tunnels(w))
		return TAKEN;
	r = (struct ct_reverse *)&w->next;
	__builtin_memset(r, 0, sizeof(*r));
	r->opener = ct_key_set(&w->p, &w->inner);
	r->addr = w->nat.client;
	r->port = w->nat.client_port;
	r->frontend = w->nat.frontend;
	old = w->nat.known ? (struct ct_reverse *)ct_find_any(&w->inner) : 0;
	if (old && old->flags & CT_IS_REVERSE)
		r->frontend = old->frontend; /* the service may be gone, or the table grow */
	if (w->nat.backend && !r->frontend)
		return NAMELESS; /* nobody knows any more whom the opener has asked */
	r->flags = CT_IS_REVERSE;
	r->seen = bpf_jiffies64();
	reverse_fill(w, r);
	err = entry_insert(w, &w->inner);
	if (err != -EEXIST)
		return err ? NO_ROOM : OWN;
	old = (struct ct_reverse *)ct_find(&w->inner, CT_TABLE);
	if (!old || !(old->flags & CT_IS_REVERSE) || old->port != w->nat.client_port ||
	    !addr_equal(&old->addr, &w->nat.client) ||
	    (!w->nat.known && old->frontend != w->nat.frontend))
		return TAKEN;
	if (is_syn(&w->p))
		old->flags = CT_IS_REVERSE;
	return OWN;
}

/* The key of the opener's entry of the connection that has w->inner, to w->ended. 0: there is none
 * that could have ended. */
STAGE int ended_key(void)
{
	struct work *w = work_slot();
	const struct frontend *asked;
	struct ct_reverse *r;
	__u16 dport;

	if (!w || !is_syn(&w->p))
		return 0;
	r = (struct ct_reverse *)ct_find(&w->inner, CT_TABLE);
	if (!r || !(r->flags & CT_IS_REVERSE))
		return 0;
	asked = asked_frontend(r);
	if (r->frontend && !asked)
		return 0;
	w->prefix.addr = w->p.src;
	dport = w->p.dport;
	if (asked) {
		w->p.dst = asked->addr;
		w->p.dport = asked->port;
	}
	w->p.src = r->addr;
	w->p.sport = r->port;
	ct_key_set(&w->p, &w->ended);
	w->p.src = w->prefix.addr;
	w->p.sport = w->nat.port;
	w->p.dst = w->ends[1].addr;
	w->p.dport = dport;
	return 1;
}

/* Whether the opener's entry at w->ended is of the connection that has w->inner. Not where it has
 * got another backend since, or leaves by another port. */
static __always_inline int is_of_inner(const struct ct_entry *e, const struct work *w)
{
	const struct ct_forward *f = (const struct ct_forward *)e;
	const struct backend *b;

	if (!(e->flags & CT_IS_FORWARD) || f->nat_port != w->nat.port)
		return 0;
	if (!f->backend)
		return 1;
	b = backend_still(f->backend, f->generation);
	return b && b->port == w->p.dport && addr_equal(&b->addr, &w->p.dst);
}

/*
 * The same, in place of a connection that has ended: its entries wait for what
 * may still be under way, and whoever needs the port now needs it more. A packet of it that comes
 * all the same is a stranger's to the new one, as it would be to one that is made a moment later.
 */
STAGE int reverse_replace(void)
{
	struct work *w = work_slot();
	const struct ct_entry *there, *back;
	int got = reverse_insert();

	if (!w || got != TAKEN || !ended_key())
		return got;
	there = ct_find(&w->ended, CT_TABLE);
	back = ct_find(&w->inner, CT_TABLE);
	if (!there || !back || !is_of_inner(there, w) || !is_over(there->flags | back->flags))
		return TAKEN;
	if (entry_remove(&w->ended) || entry_remove(&w->inner))
		return TAKEN;
	return reverse_insert();
}

_Static_assert(NAT_TRIES == 1 << (NAT_RETRY_ROWS - 2), "rows of weir_nat_retries");

/* A function of its own, so that the verifier looks at the loop once. */
__weak int retries_count(__u32 retries)
{
	__u32 row = 0;
	__u64 *n;

	while (row < NAT_RETRY_ROWS - 1 && retries >> row)
		row++;
	n = bpf_map_lookup_elem(&weir_nat_retries, &row);
	if (n)
		(*n)++;
	return row;
}

enum { PORT_WANTED = -1 };

/*
 * The answers' entry. Leaves w->p as it is sent on. Returns REASON_NONE, why there is none, or
 * PORT_WANTED: the connection needs a port that no other has.
 */
STAGE int nat_store(void)
{
	struct work *w = work_slot();
	int got;

	if (!w)
		return DROP_NO_POLICY;
	w->nat.client = w->p.src;
	w->nat.client_port = w->p.sport;
	source_addr(w->nat.source, w->nat.row, w->p.family, &w->p.src);
	if (!w->nat.known && w->nat.source)
		return PORT_WANTED;
	if (w->nat.source)
		w->p.sport = w->nat.port;
	got = reverse_insert();
	if (got == NO_ROOM)
		return DROP_CT_FULL;
	if (got == OWN || (w->nat.known && (got == NAMELESS || !is_syn(&w->p))))
		return REASON_NONE;
	if (!w->nat.source)
		w->nat.source = NAT_PORT; /* the client talks to the backend itself, too */
	return PORT_WANTED;
}

/* Tries ports by chance, up to a number of tries. Returns how many have been made, and in *got what
 * became of the last one. */
static __always_inline __u32 ports_try(struct work *w, __u32 from, __u32 to, int ended, int *got)
{
	__u32 i, span = config.nat_last - config.nat_first + 1;

	for (i = from; i < to; i++) {
		w->nat.port = bpf_htons(config.nat_first + bpf_get_prandom_u32() % span);
		w->p.sport = w->nat.port;
		*got = ended ? reverse_replace() : reverse_insert();
		if (*got == OWN || *got == NO_ROOM)
			break;
	}
	return i;
}

/* The same with a port of its own for the connection. */
STAGE int nat_store_port(void)
{
	struct work *w = work_slot();
	int got = TAKEN;
	__u32 tries;

	if (!w)
		return DROP_NO_POLICY;
	tries = ports_try(w, 0, NAT_TRIES_FREE, 0, &got);
	if (tries == NAT_TRIES_FREE)
		tries = ports_try(w, NAT_TRIES_FREE, 2 * NAT_TRIES_FREE, 1, &got);
	if (tries == 2 * NAT_TRIES_FREE)
		tries = ports_try(w, 2 * NAT_TRIES_FREE, NAT_TRIES, 0, &got);
	retries_count(tries);
	if (got == OWN)
		return REASON_NONE;
	return got == NO_ROOM ? DROP_CT_FULL : DROP_NAT_PORTS;
}

/* Writes down what was judged: the connection, unless its packets are judged one by one, and the
 * rules that allowed its opener's packet. Returns REASON_NONE, or why
 * it is dropped. */
STAGE int flow_store(void)
{
	struct work *w = work_slot();
	int refused;

	if (!w)
		return REASON_NONE;
	if (w->keep && w->nat.is == CT_IS_FORWARD && w->nat.source != NAT_DSR) {
		refused = nat_store();
		if (refused == PORT_WANTED)
			refused = nat_store_port();
		if (refused)
			return refused;
	}
	told_apart(w);
	if (w->keep && entry_store(w))
		return DROP_CT_FULL;
	if (w->nat.is == CT_IS_REVERSE) {
		w->p.src = w->nat.asked;
		packet_port_set(&w->p, 0, w->nat.asked_port);
	}
	if (w->dsr && w->dir && !dsr_answer(w->dsr, &w->p))
		return DROP_NO_BACKEND;
	if (!w->dir) {
		rule_account(w->rule[0], w->segments, w->bytes);
		rule_account(w->rule[1], w->segments, w->bytes);
	}
	return REASON_NONE;
}
