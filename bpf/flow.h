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
#include "dns.h"
#include "judge.h"
#include "kubeproxy.h"
#include "route.h"
#include "store.h"
#include "walk.h"

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
	if (beside_kube_proxy() && way == OUT_STACK) {
		decide(d, WAY_PASS, REASON_TO_STACK);
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
	case OUT_DSR:
		if (d->host)
			decide(d, WAY_PASS, REASON_TO_STACK);
		else
			route_fib(skb, p, d);
		return 1;
	}
	return 0;
}

/* Whether the packet came out of the tunnel from the node to which its answers go: that of a pod,
 * or one that speaks in its own name, to whose address the routing table leads. */
static __always_inline int flow_from(const struct ct_entry *e, __u8 dir, const struct addr *remote)
{
	__u32 out = e->out[!dir];
	const struct node *node;

	if (!dir && is_dsr(e))
		return dsr_from(remote);
	if (e->way[!dir] != OUT_TUNNEL && e->way[!dir] != OUT_FIB)
		return 0;
	node = bpf_map_lookup_elem(&weir_nodes, &out);
	return node && addr_equal(&node->addr, remote);
}

/* A translated packet's destination becomes that of the way on. 0: the slow path finds another. */
static __always_inline int hit_destination(const struct ct_entry *e, __u8 dir, struct packet *p)
{
	const struct ct_reverse *r = (const struct ct_reverse *)e;

	if (e->flags & CT_IS_REVERSE) {
		if (!dir)
			return 0;
		p->dst = r->addr;
		p->dport = r->port;
		return 1;
	}
	return !dir && forward_destination((const struct ct_forward *)e, p);
}

/* And its source, once nothing else can hold it up. 0: nobody knows any more whom the opener has
 * asked. */
static __always_inline int hit_source(const struct ct_entry *e, struct packet *p)
{
	const struct ct_reverse *r = (const struct ct_reverse *)e;
	const struct frontend *from;

	if (e->flags & CT_IS_FORWARD) {
		forward_source((const struct ct_forward *)e, p);
		return 1;
	}
	if (!r->frontend)
		return 1;
	from = asked_frontend(r);
	if (!from)
		return 0;
	p->src = from->addr;
	p->sport = from->port;
	return 1;
}

/* Whether the packet, which comes from here, is to come from the service that another node was
 * asked for. */
static __always_inline int hit_answers(const struct ct_entry *e, __u8 dir, int here)
{
	return dir && here && is_dsr(e);
}

/* Counts a packet of a connection that is known, for it and for its rules. Returns is_news. */
static __always_inline __u32 hit_account(struct ct_entry *e, const struct ct_key *key, __u8 dir,
					 __u8 tcp_flags, __u32 segments, __u32 bytes)
{
	__u32 news;

	news = ct_account(e, key, dir, tcp_flags, segments, bytes);
	if (dir)
		return news;
	if (!is_dsr(e))
		rule_account(e->rule[0], segments, bytes);
	rule_account(e->rule[1], segments, bytes);
	return news;
}

/* Notes what there is to say of it: packet_report and dns_copy read it. vni: the identity that came
 * with it, or 0. */
static __always_inline void hit_tell(struct packet *p, const struct ct_entry *e,
				     const struct ct_key *key, __u8 side, __u32 vni, __u32 news)
{
	struct work *w = work_of(p);

	dns_hit(p, e, key, side);
	if (config.monitor == MONITOR_OFF || (config.monitor < MONITOR_LOW && !news))
		return;
	p->told = EVENT_GOING;
	w->news = news;
	w->key = *key;
	w->side = side;
	w->vni = vni;
	__builtin_memcpy(&w->was, e->rule, sizeof(w->was));
}

/*
 * The fast path. from: the endpoint whose device the packet came in on, or 0; remote: the node
 * that a packet out of the tunnel came from, or NULL. Returns 1 when d says it all.
 */
static __always_inline int flow_hit(struct __sk_buff *skb, struct packet *p, __u32 from,
				    const struct addr *remote, struct decision *d)
{
	__u32 opener, other, src, dst, news;
	struct ct_entry *e;
	struct ct_key key;
	struct translation *nat = &work_of(p)->nat;
	__u8 dir, side, translated;

	walk_came(p);
	if (p->kind != KIND_PLAIN || p->fragment || is_syn(p))
		return 0;
	side = ct_key_set(p, &key);
	e = ct_find(&key, CT_TABLE);
	if (!e)
		return 0;
	if (d->only_translated && !is_translated(e) && !is_dsr(e))
		return 0;
	if (p->dsr && !(is_dsr(e) && e->rule[0] == p->dsr))
		return 0;
	dir = ct_dir(e, side) & 1;
	if (!from && !d->host && (is_endpoint_behind(e->way[!dir]) || e->way[!dir] == OUT_HOST))
		return 0; /* this node's own does not come from elsewhere: the slow path says so */
	if (remote && !flow_from(e, dir, remote))
		return 0;
	if (!remote && !from && !d->host && e->way[!dir] == OUT_TUNNEL &&
	    is_endpoint_behind(e->way[dir]))
		return 0; /* what the tunnel brings for pods comes no other way */
	nat->asked = p->dst;
	nat->asked_port = p->dport;
	translated = translates() && is_translated(e);
	if (translated && !hit_destination(e, dir, p))
		return 0;
	d->translate = translated || hit_answers(e, dir, from || d->host);
	src = from ? from : is_endpoint_behind(e->way[!dir]) ? e->out[!dir] : 0;
	dst = is_endpoint_behind(e->way[dir]) ? e->out[dir] : 0;
	src = epoch_of(&p->src, src);
	dst = epoch_of(&p->dst, dst);
	opener = dir ? dst : src;
	other = dir ? src : dst;
	if (!e->stamp || e->stamp != stamp_of(opener, other) || !opener || !other ||
	    !flow_route(skb, p, e->way[dir], e->out[dir], d)) {
		p->dst = nat->asked;
		p->dport = nat->asked_port;
		d->translate = 0;
		return 0;
	}
	p->how = STEP_HIT;
	if (d->reason >= DROP_FIRST) { /* the stack answers, about the packet as it came */
		d->translate = 0;
		return 1;
	}
	if (translated) {
		if (!hit_source(e, p)) {
			decide(d, WAY_DROP, DROP_NO_BACKEND);
			return 1;
		}
		d->dsr = dsr_hit(e, p);
		if (dir) {
			news = reverse_account((struct ct_reverse *)e, &key, p->tcp_flags,
					       segments_of(skb), skb->len);
			hit_tell(p, e, &key, side, remote ? d->identity : 0, news);
			return 1;
		}
		d->identity = ((const struct ct_forward *)e)->world;
	}
	if (hit_answers(e, dir, from || d->host) && !dsr_answer(e->rule[0], p)) {
		decide(d, WAY_DROP, DROP_NO_BACKEND);
		return 1;
	}
	news = hit_account(e, &key, dir, p->tcp_flags, segments_of(skb), skb->len);
	hit_tell(p, e, &key, side, remote ? d->identity : 0, news);
	return 1;
}

/* Fills the slot for the stages, but for segments and bytes. */
static __always_inline struct work *work_open(__u32 from, __u32 vni, __u32 place)
{
	struct work *w = work_slot();

	if (!w)
		return 0;
	w->from = from;
	w->vni = vni;
	w->place = place;
	w->local = 0;
	return w;
}

static __always_inline struct work *work_begin(struct __sk_buff *skb, __u32 from, __u32 vni,
					       __u32 place)
{
	struct work *w = work_open(from, vni, place);

	if (!w)
		return 0;
	w->segments = segments_of(skb);
	w->bytes = skb->len;
	return w;
}

static __always_inline int flow_verdict(struct __sk_buff *skb, struct work *w, struct decision *d)
{
	__u8 refused = w ? flow_judge(skb) : DROP_NO_POLICY;

	if (!refused)
		return 1;
	d->reject = w && w->reject;
	if (w && w->nat.is == CT_IS_FORWARD) { /* who is asked about, and answered, is the packet as
						  it came */
		w->p.dst = w->nat.asked;
		w->p.dport = w->nat.asked_port;
	}
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

/* Notes for the way out that the packet is not sent on as it came. */
static __always_inline void flow_translate(struct decision *d)
{
	const struct work *w = work_slot();

	d->translate = w && (w->nat.is || (w->dsr && w->dir));
}

/* Stores what was judged, unless its packet goes no further. */
static __always_inline void flow_keep(struct decision *d)
{
	const struct work *w = work_slot();
	__u8 refused;

	if (d->way == WAY_DROP || d->reason >= DROP_FIRST || !w)
		return;
	refused = flow_store();
	if (refused)
		return decide(d, WAY_DROP, refused);
	flow_translate(d);
}
