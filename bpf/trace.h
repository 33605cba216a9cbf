/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The one place that reports. Each packet is counted exactly once by each program it meets, under
 * the program's place and the reason of its end there. A drop is an event, too, and so is what else
 * struct packet says is told of: conntrack.h decides of connections that are known, store.h of
 * those that are judged.
 */
#pragma once
#include "asked.h"
#include "count.h"
#include "dns.h"
#include "ip.h"
#include "kubeproxy.h"
#include "policy.h"
#include "ports.h"
#include "socket.h"
#include "walk.h"

/* Room for an event in one of the two lanes; NULL: there is none, which is counted. */
static __always_inline struct event *event_begin(void *lane, __u8 lost)
{
	struct event *e = bpf_ringbuf_reserve(lane, sizeof(*e), 0);

	if (!e) {
		event_lost(lost);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	return e;
}

#define EVENT_WINDOW_BITS 30 /* of nanoseconds: 1.07 s */

/* Whether there may be an event of one more drop. A flood of them would keep the agent busy, and
 * says nothing new; how many there were is counted all the same. */
static __always_inline int drop_may_be_told(void)
{
	struct budget *b;
	__u32 zero = 0;

	if (!config.drop_events)
		return 1;
	b = bpf_map_lookup_elem(&weir_event_budget, &zero);
	return b && budget_take(b, bpf_ktime_get_ns() >> EVENT_WINDOW_BITS, config.drop_events);
}

/* Never wakes the reader: the wake-up would cost more than the packet did. */
static __always_inline void event_end(struct event *e)
{
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

/* What an event says of any packet. Of an echo reply the type is not in the ports. */
static __always_inline void event_packet(struct event *e, const struct work *w)
{
	e->sport = w->p.sport;
	e->dport = w->p.dport;
	if (w->p.echo == ECHO_REPLY)
		e->dport = w->p.proto == IPPROTO_ICMP ? bpf_htons(ICMP_ECHO_REPLY)
						      : bpf_htons(ICMPV6_ECHO_REPLY);
	e->family = w->p.family;
	e->proto = w->p.proto;
	e->tcp_flags = w->p.tcp_flags;
	e->reason = w->reason;
	e->place = w->place;
	e->endpoint = ENDPOINTS_MAX;
}

/* A denial is about the backend, though the sender is answered by the service that it asked. */
static __always_inline void event_denial(struct event *e, const struct work *w)
{
	e->endpoint = w->denied_at;
	if (w->ingress)
		e->rule[0] = w->rule[0]; /* the sender's policy had allowed it */
	e->rule[w->ingress & 1] = w->denied_by;
	e->direction = w->ingress;
	e->src_identity = w->ends[w->dir & 1].identity;
	e->dst_identity = w->ends[!w->dir].identity;
	e->reply = w->dir;
	if (w->nat.is != CT_IS_FORWARD || w->dir)
		return;
	e->dst = w->ends[1].addr;
	if (w->nat.backend) {
		e->dport = w->dport;
		e->asked = w->nat.asked;
		e->asked_port = w->nat.asked_port;
	}
}

/* An event of w->p, which is dropped at w->place for w->reason, but for its device. */
static __always_inline struct event *event_of_drop(struct work *w)
{
	struct event *e;

	if (!drop_may_be_told()) {
		event_lost(REASON_EVENT_LOST);
		return 0;
	}
	e = event_begin(&weir_events, REASON_EVENT_LOST);
	if (!e)
		return 0;
	e->kind = EVENT_DROP;
	e->src = w->p.src;
	e->dst = w->p.dst;
	event_packet(e, w);
	e->fib = cause_fib(w, w->reason);
	e->mtu = cause_mtu(w, w->reason);
	if (w->reason == DROP_POLICY || w->reason == DROP_POLICY_DENY ||
	    w->reason == DROP_NO_POLICY) {
		event_denial(e, w);
	} else if (e->family) {
		e->src_identity = identity_of(w, &w->p.src);
		e->dst_identity = identity_of(w, &w->p.dst);
	}
	return e;
}

static __always_inline int is_other(const struct addr *a, __u16 port, const struct addr *b,
				    __u16 other)
{
	return port != other || !addr_equal(a, b);
}

/* Whether w->p, which was judged, is an ICMP error about a translated connection. */
static __always_inline int is_error_translated(const struct work *w)
{
	return w->p.how == STEP_JUDGED && w->nat.is == NAT_ERROR;
}

/*
 * The addresses that the connection was judged by, and what stands in their place beyond this node.
 * In both directions the destination is what the packet has by now, and the source what it had.
 */
static __always_inline void event_addrs(struct event *e, const struct work *w)
{
	const struct packet *p = &w->p;
	const struct tuple *t = &w->came;
	const struct frontend *asked;

	e->src = t->src;
	e->sport = t->sport;
	e->dst = p->dst;
	if (is_error_translated(w))
		return; /* it asks nobody, and its sender's place is not taken */
	if (is_other(&t->dst, t->dport, &p->dst, p->dport)) {
		if (w->dir) {
			e->taken = t->dst;
			e->taken_port = t->dport;
		} else {
			e->asked = t->dst;
			e->asked_port = t->dport;
		}
	}
	if (is_other(&t->src, t->sport, &p->src, p->sport)) {
		if (w->dir) {
			e->asked = p->src;
			e->asked_port = p->sport;
		} else {
			e->taken = p->src;
			e->taken_port = p->sport;
		}
	}
	asked = w->dsr && !w->dir ? asked_find(w->dsr) : 0;
	if (asked) {
		e->asked = asked->addr;
		e->asked_port = asked->port;
	}
}

/* The same for an end of a known connection: its entry says which pod of this node it is, which
 * spares the lookup of its address. toward: the direction of the packets that go there. */
static __always_inline __u32 identity_toward(struct work *w, __u8 toward, const struct addr *a)
{
	__u32 id = w->was.out[toward & 1];
	const struct endpoint *ep = 0;

	if (is_endpoint_behind(w->was.way[toward & 1]))
		ep = bpf_map_lookup_elem(&weir_endpoints, &id);
	return ep && ep->id ? ep->identity : identity_of(w, a);
}

/* Who gets a packet that was judged: of an ICMP error whoever the quote is for. */
static __always_inline __u32 identity_judged(struct work *w)
{
	if (is_error_translated(w))
		return identity_of(w, &w->p.dst);
	return w->ends[!w->dir].identity;
}

/* Who both ends are: as they were judged, or of a connection that is known as they would be. */
static __always_inline void event_ends(struct event *e, struct work *w)
{
	if (w->p.how == STEP_JUDGED) {
		e->src_identity = w->ends[w->dir & 1].identity;
		e->dst_identity = identity_judged(w);
		return;
	}
	e->src_identity = identity_toward(w, !w->dir, &w->came.src);
	e->dst_identity = identity_toward(w, w->dir, &w->p.dst);
	if (is_world(w->vni) && (!e->src_identity || e->src_identity == IDENTITY_REMOTE_NODE))
		e->src_identity = w->vni; /* see sender_from_tunnel */
}

/* Notes a packet that nobody has judged. */
static __always_inline void unjudged_tell(struct work *w)
{
	came_set(w);
	w->dir = w->flags = 0;
	w->was.way[0] = w->was.way[1] = OUT_UNKNOWN;
	w->rule[0] = w->rule[1] = w->dsr = w->vni = w->out = 0;
	w->p.told = EVENT_PACKET;
}

/* Of a packet of a connection that is known what its entry says: see hit_tell. */
static __always_inline void known_tell(struct work *w)
{
	const struct ct_key *key = &w->key;
	const struct verdict *is = &w->was;

	w->came.src = w->side ? key->b : key->a;
	w->came.dst = w->side ? key->a : key->b;
	w->came.sport = w->side ? key->port_b : key->port_a;
	w->came.dport = w->side ? key->port_a : key->port_b;
	w->dir = (w->side ^ is->opener) & 1;
	w->flags = is->flags;
	w->out = is->out[w->dir & 1];
	w->dsr = is->way[1] == OUT_DSR ? is->rule[0] : 0;
	w->rule[0] = w->dsr ? 0 : is->rule[0];
	w->rule[1] = is->rule[1];
	if (is->flags & CT_IS_REVERSE)
		w->rule[0] = w->rule[1] = 0;
	if (!w->news)
		w->p.told = EVENT_PACKET;
}

/* An event of w->p, which is let through at w->place for w->reason, but for its device. */
static __always_inline struct event *event_of_packet(struct work *w)
{
	struct event *e;

	if (!w->p.told)
		unjudged_tell(w);
	else if (w->p.how != STEP_JUDGED)
		known_tell(w);
	if (w->p.told == EVENT_NEW)
		e = event_begin(&weir_events, REASON_EVENT_LOST);
	else
		e = event_begin(&weir_traces, REASON_TRACE_LOST);
	if (!e)
		return 0;
	event_packet(e, w);
	event_addrs(e, w);
	e->kind = w->p.told;
	e->reply = w->dir;
	e->flags = w->flags;
	e->rule[0] = w->rule[0];
	e->rule[1] = w->rule[1];
	if (w->reason == REASON_TO_ENDPOINT || w->reason == REASON_TO_OVERLAY)
		e->out = w->out;
	if (e->family)
		event_ends(e, w);
	return e;
}

/* The service that the sender's socket asked for, whose backend the packet is for from the start.
 * Of what the underlay brings no socket here is the sender. */
static __always_inline void event_socket(struct event *e, struct __sk_buff *skb)
{
	const struct socket_peer *p;
	struct bpf_sock *sk = skb->sk;

	if (!config.services || !sk || e->reply || !addr_is_zero(&e->asked) ||
	    e->place == PLACE_FROM_NETDEV || e->place == PLACE_FROM_OVERLAY)
		return;
	sk = bpf_sk_fullsock(sk);
	p = sk ? peer_find(sk, &e->dst, e->dport) : 0;
	if (!p)
		return;
	e->asked = p->service;
	e->asked_port = p->service_port;
}

/* Says what became of w->p at w->place: w->reason. */
STAGE int packet_report(struct __sk_buff *skb)
{
	struct work *w = work_slot();
	struct event *e;

	if (!w)
		return 0;
	e = w->reason >= DROP_FIRST ? event_of_drop(w) : event_of_packet(w);
	if (!e)
		return 0;
	event_socket(e, skb);
	e->ifindex = skb->ifindex;
	e->len = skb->len;
	e->protocol = skb->protocol;
	event_end(e);
	return 0;
}

/* The same, and the step, of a packet that goes on as it came, which nobody has looked at. */
STAGE int passing_report(struct __sk_buff *skb, __u32 place, __u32 reason)
{
	struct packet *p = packet_begin();

	if (!p)
		return 0;
	if (!parse_any(skb, p) && !ports_parse(skb, p) && walk_wanted())
		walk_step(place, reason, skb->ifindex, skb->len);
	if (config.monitor != MONITOR_NONE)
		return 0;
	work_of(p)->place = place;
	work_of(p)->reason = reason;
	return packet_report(skb);
}

/* Whether there is an event of a packet that is let through. */
static __always_inline int is_told(const struct packet *p)
{
	return config.monitor == MONITOR_NONE || (config.monitor && p->told);
}

/*
 * What became of a packet: counted, and told of where it is worth it. One that is not let through,
 * or only to the stack for its error, always is.
 */
static __always_inline void report(struct __sk_buff *skb, __u32 place, __u8 reason)
{
	struct work *w = work_slot();

	if (!w)
		return;
	count(skb, place, reason);
	if (walk_wanted())
		walk_step(place, reason, skb->ifindex, skb->len);
	dns_tell(skb, w, place, reason);
	if (reason < DROP_FIRST && !is_told(&w->p))
		return;
	w->place = place;
	w->reason = reason;
	packet_report(skb);
}
