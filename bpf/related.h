/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Packets that belong to a connection without being its next one: ICMP errors about it, and, of a
 * translated connection, whatever the fast path does not know.
 *
 * An ICMP error is translated as the packet that it quotes would be, went it the other way: the
 * quote is what its sender knows, and becomes what its receiver has sent. RFC 5508 section 4.
 */
#pragma once
#include "dsr.h"
#include "follow.h"
#include "nat.h"

/* The quote of a packet that went to a backend, or in another's name: as the opener has sent it. */
static __always_inline int quote_of_opener(struct packet *q, const struct ct_reverse *r)
{
	const struct frontend *f = asked_frontend(r);

	if (r->frontend) {
		if (!f)
			return 0;
		q->dst = f->addr;
		packet_port_set(q, 1, f->port);
	}
	q->src = r->addr;
	packet_port_set(q, 0, r->port);
	return 1;
}

/* The packet the other way round. */
static __always_inline void turn(struct packet *p)
{
	struct addr src = p->src;
	__u16 sport = p->sport;

	p->src = p->dst;
	p->sport = p->dport;
	p->dst = src;
	p->dport = sport;
}

/* The quote of an answer that its receiver knows under other names: as the answerer has sent it. */
static __always_inline int quote_of_answer(struct packet *q, const struct ct_forward *f)
{
	int found;

	turn(q);
	found = forward_destination(f, q);
	forward_source(f, q);
	turn(q);
	return found;
}

/* The quote of a packet that another node forwarded: as its sender has sent it. */
static __always_inline int quote_of_client(struct packet *q, const struct ct_entry *e)
{
	int found;

	turn(q);
	found = dsr_answer(e->rule[0], q);
	turn(q);
	return found;
}

/* As the entry has it, by what it is. */
static __always_inline int quote_translate(struct packet *q, const struct ct_entry *e)
{
	if (is_dsr(e))
		return quote_of_client(q, e);
	if (e->flags & CT_IS_REVERSE)
		return quote_of_opener(q, (struct ct_reverse *)e);
	return quote_of_answer(q, (struct ct_forward *)e);
}

/* Whether the quote is of packets that the entry makes out of others: answers' entries make those
 * that the opener gets, and so quotes of the opener's packets. */
static __always_inline int is_quote_translated(const struct work *w, const struct ct_entry *e)
{
	__u8 dir = ct_dir(e, w->side) & 1;

	if (e->flags & CT_IS_REVERSE || is_dsr(e))
		return !dir;
	return e->flags & CT_IS_FORWARD && dir;
}

/* Whether an ICMP error is about a connection of its receiver. Where that is translated, w->p gets
 * the addresses that its receiver knows. */
STAGE int icmp_related(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct addr to;
	struct ct_entry *e;

	if (!w || !icmp_quoted(skb))
		return 0;
	e = ct_find_any(&w->key);
	if (!e)
		return 0;
	if (!translates() || !is_quote_translated(w, e))
		return 1;
	to = w->quoted.dst;
	if (!quote_translate(&w->quoted, e))
		return 0;
	w->p.dst = w->quoted.src;
	if (addr_equal(&w->p.src, &to))
		w->p.src = w->quoted.dst;
	w->nat.is = NAT_ERROR;
	return 1;
}

/*
 * Whether a packet that the fast path does not know is of a translated connection all the same: a
 * fragment, an ICMP error about it, or a packet whose policy has changed; or opens one behind
 * extension headers.
 * Negative: why it is refused, whoever it is for.
 */
STAGE int is_of_translated(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct ct_entry *e;
	int extension, refused;

	if (!w)
		return 0;
	extension = w->p.kind == KIND_EXTENSION;
	refused = packet_complete(skb);
	if (refused)
		return -refused;
	if (w->p.kind == KIND_ERROR) {
		if (w->p.fragment == FRAGMENT_LATER || !icmp_quoted(skb))
			return 0;
		e = ct_find_any(&w->key);
		return e && is_quote_translated(w, e);
	}
	if (w->p.kind != KIND_PLAIN)
		return 0;
	if (extension && config.services && service_find(&w->p.dst, w->p.dport, w->p.proto))
		return 1; /* its ports were not seen before */
	if (is_syn(&w->p))
		return 0;
	w->side = ct_key_set(&w->p, &w->key);
	e = ct_find_any(&w->key);
	return e && (is_translated(e) || is_dsr(e));
}
