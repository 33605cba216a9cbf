/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The entry by which a translated connection's answers are known, and the port that makes it one of
 * its own.
 */
#pragma once
#include "entry.h"

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

/*
 * The port to be tried, in host byte order. The first follows from the opener's own, so that two of
 * one opener do not want the same, and is taken from a connection that has ended, too: whoever
 * opens connections as fast as they end finds a port at once, however many are still remembered.
 * It is as hard to guess as the opener's own.
 */
static __always_inline __u16 port_tried(const struct work *w, __u32 number)
{
	__u32 span = config.nat_last - config.nat_first + 1;
	__u32 by = bpf_get_prandom_u32();

	if (!number)
		by = bpf_ntohs(w->nat.client_port) + (addr_slot(&w->nat.client));
	return config.nat_first + by % span;
}

/* Whether the try may take the port of a connection that has ended. */
static __always_inline int takes_ended(__u32 number)
{
	return !number || (number >= NAT_TRIES_FREE && number < 2 * NAT_TRIES_FREE);
}

/* The same with a port of its own for the connection. */
STAGE int nat_store_port(void)
{
	struct work *w = work_slot();
	int got = TAKEN;
	__u32 i;

	if (!w)
		return DROP_NO_POLICY;
	for (i = 0; i < NAT_TRIES && got != OWN && got != NO_ROOM; i++) {
		w->nat.port = bpf_htons(port_tried(w, i));
		w->p.sport = w->nat.port;
		got = takes_ended(i) ? reverse_replace() : reverse_insert();
	}
	retries_count(got == OWN ? i - 1 : i);
	if (got == OWN)
		return REASON_NONE;
	return got == NO_ROOM ? DROP_CT_FULL : DROP_NAT_PORTS;
}
