/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Translated connections: those to a service, whose backend takes its place, and those in which
 * another address takes the opener's. Decides, from weir_ct and the maps of services, what a packet
 * is made into; the bytes are translate.h's business.
 *
 *   nat_find    the backend that the connection has, or the one that it gets; the answer's opener
 *   nat_source  whether another address takes the opener's, once both ends are known
 *
 * store.h writes both entries, and finds a port.
 */
#pragma once
#include "asked.h"
#include "conntrack.h"
#include "ip.h"
#include "ports.h"
#include "work.h"

/* Ports that are tried, all but the first by chance: at 95 % in use, all of them are once in
 * 500,000 times. Tried in a row, those in use would come in rows, too. */
#define NAT_TRIES 256
/* After as many tries, ports of connections that have ended will do, too, for as many; for the
 * first try they do, too. */
#define NAT_TRIES_FREE 32

/* In translation.is, beside the flags of entries: an ICMP error about a translated connection. */
enum { NAT_ERROR = 1 };

/* Whether this node translates anything. */
static __always_inline int translates(void)
{
	return config.services || config.masquerade;
}

/* Where the port is that tells a packet's opener from others: an echo's identifier, or a port. */
static __always_inline void packet_port_set(struct packet *p, __u8 destination, __u16 port)
{
	if (destination)
		p->dport = port;
	else
		p->sport = port;
}

static __always_inline const struct frontend *frontend_find(__u32 number)
{
	void *table;

	if (number & ASKED_ELSEWHERE)
		return asked_find(number);
	table = only(&weir_frontends);
	return table ? bpf_map_lookup_elem(table, &number) : 0;
}

/* What the opener has asked. NULL: no service, or one that is no more. */
static __always_inline const struct frontend *asked_frontend(const struct ct_reverse *r)
{
	const struct frontend *f = r->frontend ? frontend_find(r->frontend) : 0;

	return f && !addr_is_zero(&f->addr) ? f : 0;
}

/* An address of this node that is not the underlay's, by its row; NULL: it has none like it. */
static __always_inline const struct node *source_row(__u32 row)
{
	const struct node *own = row ? bpf_map_lookup_elem(&weir_nodes, &row) : 0;

	return own && !addr_is_zero(&own->addr) ? own : 0;
}

/* The address that takes an opener's place. row: of NAT_NODE, see source_row; 0: the underlay's. */
static __always_inline void source_addr(__u8 source, __u16 row, __u8 family, struct addr *a)
{
	const struct node *own = source == NAT_NODE ? source_row(row) : 0;
	int v4 = family == AF_INET;
	const volatile struct addr *from;

	if (own)
		from = &own->addr;
	else if (source == NAT_NODE)
		from = v4 ? &config.node_ipv4 : &config.node_ipv6;
	else if (source == NAT_ROUTER)
		from = v4 ? &config.router_ipv4 : &config.router_ipv6;
	else
		return;
	a->w[0] = from->w[0];
	a->w[1] = from->w[1];
	a->w[2] = from->w[2];
	a->w[3] = from->w[3];
}

/* The row of the address that takes an opener's place, as its entry has it. */
static __always_inline __u16 forward_row(const struct ct_forward *f)
{
	return f->source == NAT_NODE && f->way[0] == OUT_FIB ? f->out[0] : 0;
}

/* The opener's packet goes to its backend, if it has one. 0: that is no more. */
static __always_inline int forward_destination(const struct ct_forward *f, struct packet *p)
{
	const struct backend *b;

	if (!f->backend)
		return 1;
	b = backend_still(f->backend, f->generation);
	if (!b)
		return 0;
	p->dst = b->addr;
	p->dport = b->port;
	return 1;
}

/* And comes from whoever takes the opener's place. */
static __always_inline void forward_source(const struct ct_forward *f, struct packet *p)
{
	source_addr(f->source, forward_row(f), p->family, &p->src);
	if (f->source)
		p->sport = f->nat_port;
}

/* An answer: it goes to the opener, whatever address it was sent to. */
static __always_inline int nat_answer(struct work *w, const struct ct_reverse *r)
{
	const struct frontend *f = asked_frontend(r);

	w->nat.asked = w->p.src;
	w->nat.asked_port = w->p.sport;
	if (r->frontend) {
		if (!f)
			return DROP_NO_BACKEND;
		w->nat.asked = f->addr;
		w->nat.asked_port = f->port;
	}
	w->nat.frontend = r->frontend;
	w->nat.is = CT_IS_REVERSE;
	w->nat.known = 1;
	w->p.dst = r->addr;
	packet_port_set(&w->p, 1, r->port);
	return REASON_NONE;
}

/*
 * A packet of a connection that is translated: as before, unless its backend is no more, or the
 * node's address in its name, or it has no backend and its datagrams are for a service by now.
 */
static __always_inline int nat_again(struct work *w, const struct ct_forward *f)
{
	const struct service *s = 0;

	if (f->backend || w->p.proto == IPPROTO_UDP)
		s = service_asked(w); /* also should the answers' entry be gone */
	w->nat.row = forward_row(f);
	if ((s && !f->backend) || (w->nat.row && !source_row(w->nat.row)) ||
	    !forward_destination(f, &w->p)) {
		w->nat.row = 0;
		return 0;
	}
	w->nat.backend = f->backend;
	w->nat.generation = f->generation;
	w->nat.source = f->source;
	w->nat.port = f->nat_port;
	w->nat.is = CT_IS_FORWARD;
	w->nat.known = 1;
	return 1;
}

static __always_inline __u32 tuple_hash(const struct packet *p)
{
	__u32 h = p->src.w[0] ^ p->src.w[1] ^ p->src.w[2] ^ p->src.w[3];

	h = (h ^ ((__u32)p->sport << 16 | p->dport)) * 0x9E3779B1u;
	h ^= h >> 15;
	h = (h ^ p->dst.w[3] ^ p->dst.w[2] ^ p->proto) * 0x85EBCA6Bu;
	return h ^ h >> 13;
}

/* Whether the packet's sender is in the cluster, as services see it: a pod. */
static __always_inline int is_inside(const struct work *w)
{
	const struct ipcache_entry *entry;

	if (w->place == PLACE_FROM_POD)
		return 1;
	entry = ipcache_lookup(&w->p.src);
	return entry && !addr_is_zero(&entry->tunnel_endpoint);
}

/* Whether the client may ask for the service here. */
static __always_inline int is_admitted(struct work *w, const struct service *s, int inside)
{
	struct source_range *key = &w->source_key;

	key->prefix_len = 32 + 128;
	key->service = s->id;
	key->addr = w->p.src;
	if (!inside && !(s->flags & SERVICE_EXTERNAL))
		return DROP_CLUSTER_IP;
	if (s->flags & SERVICE_RANGES && !bpf_map_lookup_elem(&weir_source_ranges, key))
		return DROP_SOURCE_RANGE;
	return REASON_NONE;
}

/* Whether the slot follows from the connection: where two programs may see its first packet, one
 * after the other, both have to choose the same. */
static __always_inline int is_by_tuple(const struct work *w, const struct service *s)
{
	return s->flags & SERVICE_MAGLEV || (config.acceleration && w->place == PLACE_FROM_NETDEV);
}

/* If the packet is for a service: its backend. */
STAGE int nat_new(void)
{
	struct work *w = work_slot();
	const struct selection *from;
	const struct service *s;
	struct choice *c;
	int inside, refused;
	__u32 hash;

	if (!w)
		return DROP_NO_POLICY;
	if (!config.services || (w->place != PLACE_FROM_POD && w->place != PLACE_FROM_NETDEV))
		return REASON_NONE;
	if (w->p.proto != IPPROTO_TCP && w->p.proto != IPPROTO_UDP && w->p.proto != IPPROTO_SCTP)
		return REASON_NONE;
	s = service_asked(w);
	if (!s)
		return REASON_NONE;
	if (!w->nat.frontend)
		return DROP_CT_FULL;
	c = &w->choice;
	inside = is_inside(w);
	refused = is_admitted(w, s, inside);
	if (refused)
		return refused;
	if (w->place == PLACE_FROM_NETDEV && s->flags & SERVICE_KEEP_CLIENT)
		inside = 0; /* another node's pod: its node would have asked for it, were it inside
			     */
	from = inside ? &s->inside : &s->outside;
	hash = tuple_hash(&w->p);
	if (!is_by_tuple(w, s))
		hash = bpf_get_prandom_u32();
	if (!service_choose(s, from, &w->p.src, hash, c)) {
		w->reject = !(s->flags & (inside ? SERVICE_DROP_INSIDE : SERVICE_DROP_OUTSIDE));
		return DROP_NO_BACKEND;
	}
	w->nat.backend = c->number;
	w->nat.generation = c->generation;
	w->nat.keep_client = !inside && s->flags & SERVICE_KEEP_CLIENT;
	w->nat.dsr = !inside && s->flags & SERVICE_DSR;
	w->nat.is = CT_IS_FORWARD;
	w->p.dst = c->addr;
	w->p.dport = c->port;
	return REASON_NONE;
}

enum { NAT_UNKNOWN = -1 };

/* Whether the answerer is done: a client that has asked a service, and now asks its backend itself
 * from the same port, has done with the service, too. */
static __always_inline int is_answered_for_good(const struct ct_entry *e)
{
	return e->flags & (CT_FIN_REPLY | CT_RESET_REPLY);
}

static __always_inline long entry_remove(const struct ct_key *key)
{
	__u32 which = CT_TABLE;
	void *table = bpf_map_lookup_elem(&weir_ct, &which);

	return table ? bpf_map_delete_elem(table, key) : -1;
}

/*
 * Whether a connection without a service goes on without one, though its receiver may be a service
 * by now. TCP has nothing to say to a backend that knows nothing of it, nor has SCTP once it was
 * answered; a datagram is as good as the first.
 */
static __always_inline int is_settled(const struct ct_entry *e, __u8 dir, const struct packet *p)
{
	if (is_translated(e) || is_syn(p))
		return 0;
	return dir || p->proto == IPPROTO_TCP ||
	       (p->proto == IPPROTO_SCTP && e->flags & CT_REPLIED);
}

/*
 * What becomes of the destination of w->p, whose key is w->key. Returns REASON_NONE, or why it is
 * dropped; NAT_UNKNOWN when no entry says, and nat_new is to find it.
 */
STAGE int nat_find(void)
{
	struct work *w = work_slot();
	struct ct_entry *e;
	__u8 dir;

	if (!w)
		return DROP_NO_POLICY;
	__builtin_memset(&w->nat, 0, sizeof(w->nat));
	w->nat.asked = w->p.dst;
	w->nat.asked_port = w->p.dport;
	e = ct_find_any(&w->key);
	dir = e ? ct_dir(e, w->side) & 1 : 0;
	if (e && e->flags & CT_IS_REVERSE) {
		if (dir)
			return nat_answer(w, (struct ct_reverse *)e);
		if (!is_syn(&w->p) || !is_answered_for_good(e) || entry_remove(&w->key))
			return DROP_NAT_PORTS;
		return NAT_UNKNOWN;
	}
	if (e && e->flags & CT_IS_FORWARD && dir)
		return DROP_NAT_PORTS; /* its answers come by the other entry */
	if (e && e->flags & CT_IS_FORWARD && nat_again(w, (struct ct_forward *)e))
		return REASON_NONE;
	return e && is_settled(e, dir, &w->p) ? REASON_NONE : NAT_UNKNOWN;
}

/* Both, from one stack: what calls them needs most of it. */
static __always_inline int nat_destination(void)
{
	int refused = nat_find();

	return refused == NAT_UNKNOWN ? nat_new() : refused;
}

/* Whether pods leave the cluster as this node, which needs an address for that. */
static __always_inline int node_takes_place(__u8 family)
{
	if (family == AF_INET)
		return config.masquerade & MASQUERADE_IPV4 && config.node_ipv4.w[3];
	return config.masquerade & MASQUERADE_IPV6 && config.node_ipv6.w[0];
}

/* Whether the node's address is to take a pod's place on the way to an end. */
static __always_inline int is_masqueraded(__u8 family, const struct end *to)
{
	struct ipcache_key key = {.prefix_len = 128, .addr = to->addr};
	const __u32 *exempt;

	if (!node_takes_place(family) || to->endpoint || to->host || to->member ||
	    to->identity == IDENTITY_REMOTE_NODE || to->identity == IDENTITY_HEALTH)
		return 0;
	exempt = bpf_map_lookup_elem(&weir_unmasqueraded, &key);
	return !exempt || *exempt != (family == AF_INET ? MASQUERADE_IPV4 : MASQUERADE_IPV6);
}

/* Whether a pod asks another node for what that node's own backends serve: in tunnel mode it takes
 * no pod's address from the underlay for what is for a pod. */
static __always_inline int is_left(const struct work *w)
{
	return w->nat.left && config.tunnel_ifindex && node_takes_place(w->p.family);
}

/* How a client from outside gets to a backend of another node. With DSR it keeps its address, if it
 * is one that such a node can answer: another node's own does not come from here. */
static __always_inline __u8 nat_forward(struct work *w)
{
	const struct end *client = &w->ends[0];

	if (!w->nat.dsr || client->member || client->host ||
	    client->identity == IDENTITY_REMOTE_NODE)
		return NAT_NODE;
	w->nat.port = w->p.sport;
	return NAT_DSR;
}

/* Whether a connection needs another source, now that both ends are known. */
static __always_inline int nat_source(struct work *w)
{
	const struct end *other = &w->ends[1];
	__u8 proto = w->p.proto;

	if (w->nat.known || w->dir)
		return REASON_NONE;
	if (w->place == PLACE_FROM_NETDEV) {
		if (w->nat.is && !w->nat.keep_client && !other->endpoint && !other->host)
			w->nat.source = nat_forward(w);
		return REASON_NONE;
	}
	if (w->place != PLACE_FROM_POD)
		return REASON_NONE;
	if (w->nat.is && addr_equal(&w->p.src, &w->p.dst)) {
		w->nat.source = NAT_ROUTER;
		return REASON_NONE;
	}
	if (!is_masqueraded(w->p.family, other) && !is_left(w))
		return REASON_NONE;
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP && proto != IPPROTO_SCTP &&
	    w->p.echo != ECHO_REQUEST)
		return DROP_NAT_PROTOCOL; /* nothing leaves with a pod's address */
	w->nat.is = CT_IS_FORWARD;
	w->nat.source = NAT_NODE;
	return REASON_NONE;
}
