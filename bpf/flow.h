/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * From a packet to its connection, and back to a decision.
 *
 *   flow_hit    the connection has an entry that holds: one lookup decides, nothing else is asked
 *   flow_judge  it has none: who are the ends, what do their policies say (judge.h)
 *   flow_store  write down what was judged and routed, so that the next packet hits
 *
 * A connection is judged as its opener opened it, whoever's packet is at hand: its answers pass
 * because it does, and what changes for either end is asked of the opener's packet again. A TCP SYN
 * is always judged: it opens a connection, whatever the table knows.
 */
#pragma once
#include "judge.h"
#include "route.h"

/* The way out that an entry names. 0: the slow path is to find another. */
static __always_inline int flow_route(struct __sk_buff *skb, const struct packet *p, __u8 way,
				      __u32 out, struct decision *d)
{
	const struct endpoint *to;
	const struct node *node;

	if (way == OUT_HOST) {
		decide(d, WAY_PASS, REASON_TO_HOST);
		return 1;
	}
	if (p->ttl <= 1 && !d->host)
		return 0;
	d->ttl = !d->host;
	switch (way) {
	case OUT_ENDPOINT:
		to = bpf_map_lookup_elem(&weir_endpoints, &out);
		if (!to || !to->id ||
		    !addr_equal(p->family == AF_INET ? &to->ipv4 : &to->ipv6, &p->dst))
			return 0;
		d->to = to;
		decide(d, WAY_ENDPOINT, REASON_TO_ENDPOINT);
		return 1;
	case OUT_TUNNEL:
		node = bpf_map_lookup_elem(&weir_nodes, &out);
		if (!config.tunnel_ifindex || !node || addr_is_zero(&node->addr) ||
		    (p->len > config.tunnel_mtu && !d->host))
			return 0;
		d->via = node->addr;
		decide(d, WAY_TUNNEL, REASON_TO_OVERLAY);
		return 1;
	case OUT_FIB:
		if (d->host)
			decide(d, WAY_PASS, REASON_TO_STACK);
		else
			route_fib(skb, p, d);
		return 1;
	}
	return 0;
}

/* Whether the packet came out of the tunnel from the node to which its answers go. */
static __always_inline int flow_from(const struct ct_entry *e, __u8 dir, const struct addr *remote)
{
	__u32 out = e->out[!dir];
	const struct node *node;

	if (e->way[!dir] != OUT_TUNNEL)
		return 0;
	node = bpf_map_lookup_elem(&weir_nodes, &out);
	return node && addr_equal(&node->addr, remote);
}

/*
 * The fast path. from: the endpoint whose device the packet came in on, or 0; remote: the node
 * that a packet out of the tunnel came from, or NULL. Returns 1 when d says it all.
 */
static __always_inline int flow_hit(struct __sk_buff *skb, const struct packet *p, __u32 from,
				    const struct addr *remote, struct decision *d)
{
	__u32 opener, other, src, dst;
	struct ct_entry *e;
	struct ct_key key;
	__u8 dir, side;

	if (p->kind != KIND_PLAIN || p->fragment || is_syn(p))
		return 0;
	side = ct_key_set(p, &key);
	e = ct_find(&key, CT_TABLE);
	if (!e)
		return 0;
	dir = ct_dir(e, side) & 1;
	if (!from && !d->host && (e->way[!dir] == OUT_ENDPOINT || e->way[!dir] == OUT_HOST))
		return 0; /* this node's own does not come from elsewhere: the slow path says so */
	src = from ? from : e->way[!dir] == OUT_ENDPOINT ? e->out[!dir] : 0;
	dst = e->way[dir] == OUT_ENDPOINT ? e->out[dir] : 0;
	src = epoch_of(&p->src, src);
	dst = epoch_of(&p->dst, dst);
	opener = dir ? dst : src;
	other = dir ? src : dst;
	if (!e->stamp || e->stamp != stamp_of(opener, other) || !opener || !other)
		return 0;
	if (remote && !flow_from(e, dir, remote))
		return 0;
	if (!remote && !from && !d->host && e->way[!dir] == OUT_TUNNEL &&
	    e->way[dir] == OUT_ENDPOINT)
		return 0; /* what the tunnel brings for pods comes no other way */
	if (!flow_route(skb, p, e->way[dir], e->out[dir], d))
		return 0;
	if (d->reason >= DROP_FIRST)
		return 1;
	ct_account(e, dir, p->tcp_flags, segments_of(skb), skb->len);
	if (!dir) {
		rule_account(e->rule[0], segments_of(skb), skb->len);
		rule_account(e->rule[1], segments_of(skb), skb->len);
	}
	return 1;
}

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
	if (is_syn(&w->p)) {
		e->opener = w->side;
		e->flags = 0;
		e->packets[0] = e->packets[1] = 0;
		e->bytes[0] = e->bytes[1] = 0;
	}
	ct_account(e, w->dir, w->p.tcp_flags, w->segments, w->bytes);
	barrier();
	e->stamp = w->stamp;
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
	__u32 which = CT_TABLE;
	void *table;
	long err;

	if (e) {
		w->next = *e;
		entry_fill(w, e);
	} else {
		entry_begin(w);
	}
	entry_fill(w, &w->next);
	table = bpf_map_lookup_elem(&weir_ct, &which);
	if (!table)
		return -1;
	err = bpf_map_update_elem(table, &w->key, &w->next, BPF_NOEXIST);
	return err == -EEXIST ? 0 : err;
}

/* Writes down what was judged: the connection, unless its packets are judged one by one, and the
 * rules that allowed its opener's packet. Returns REASON_NONE, or DROP_CT_FULL. */
STAGE int flow_store(void)
{
	struct work *w = work_slot();

	if (!w)
		return REASON_NONE;
	if (w->keep && entry_store(w))
		return DROP_CT_FULL;
	if (!w->dir) {
		rule_account(w->rule[0], w->segments, w->bytes);
		rule_account(w->rule[1], w->segments, w->bytes);
	}
	return REASON_NONE;
}

/* Fills the slot for the stages. */
static __always_inline struct work *work_begin(struct __sk_buff *skb, __u32 from, __u32 vni,
					       __u32 place)
{
	struct work *w = work_slot();

	if (!w)
		return 0;
	w->from = from;
	w->vni = vni;
	w->place = place;
	w->local = 0;
	w->segments = segments_of(skb);
	w->bytes = skb->len;
	return w;
}

static __always_inline int flow_verdict(struct __sk_buff *skb, const struct work *w,
					struct decision *d)
{
	__u8 refused = w ? flow_judge(skb) : DROP_NO_POLICY;

	if (!refused)
		return 1;
	d->reject = w && w->reject;
	decide(d, WAY_DROP, refused);
	return 0;
}

/* Judges. 0: the packet is dropped, and d says why. */
static __always_inline int flow_allow(struct __sk_buff *skb, __u32 from, __u32 vni, __u32 place,
				      struct decision *d)
{
	return flow_verdict(skb, work_begin(skb, from, vni, place), d);
}

/* The same for what this node itself gets or sends, at whatever address. */
static __always_inline int flow_allow_local(struct __sk_buff *skb, __u32 place, struct decision *d)
{
	struct work *w = work_begin(skb, 0, 0, place);

	if (w)
		w->local = 1;
	return flow_verdict(skb, w, d);
}

/* Stores what was judged, unless its packet goes no further. */
static __always_inline void flow_keep(struct decision *d)
{
	if (d->way != WAY_DROP && d->reason < DROP_FIRST && flow_store())
		decide(d, WAY_DROP, DROP_CT_FULL);
}
