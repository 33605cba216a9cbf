/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Entries of weir_ct: what is written into them of the connection that struct work holds, and how
 * they come into the table.
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
		*out = end->node;
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
