//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Takes idle connections out of the table. It is attached nowhere: the agent reads the table, picks
 * what looks idle, and runs this (BPF_PROG_TEST_RUN) with the keys, a few at a time. What is
 * deleted is decided here, on the entry as it is: none goes that a packet has used since it was
 * read.
 *
 * A packet may be in the middle of using an entry, so an idle one goes in two steps, a sweep apart.
 * The first makes it void: packets then take the slow path, which judges the connection again and
 * makes the entry valid. The second deletes what is still void. A packet that comes in that very
 * moment either finds its entry gone and makes it anew (entry_store), or has made it valid before:
 * then it is put back.
 *
 * Input and output: struct ct_expire, behind room for an Ethernet header.
 */
#include "config.h"
#include "maps.h"
#include "nat.h"
#include "parse.h"

/*
 * The other entry of a translated connection: its key, from what this one says. 0: it is none, or
 * what is needed to find it has gone.
 */
static __always_inline int partner_key(const struct ct_key *key, const struct ct_entry *e,
				       struct ct_key *out)
{
	const struct ct_forward *f = (const struct ct_forward *)e;
	const struct ct_reverse *r = (const struct ct_reverse *)e;
	struct packet p = {.proto = key->proto, .echo = key->echo ? ECHO_REQUEST : ECHO_NONE};
	const struct frontend *from;

	p.src = e->opener ? key->b : key->a;
	p.sport = e->opener ? key->port_b : key->port_a;
	p.dst = e->opener ? key->a : key->b;
	p.dport = e->opener ? key->port_a : key->port_b;
	p.family = is_mapped(&p.src) ? AF_INET : AF_INET6;
	if (e->flags & CT_IS_FORWARD) {
		if (f->source == NAT_DSR || !forward_destination(f, &p))
			return 0;
		forward_source(f, &p);
	} else {
		from = asked_frontend(r);
		if (r->frontend && !from)
			return 0;
		if (from) {
			p.dst = from->addr;
			p.dport = from->port;
		}
		p.src = r->addr;
		p.sport = r->port;
	}
	ct_key_set(&p, out);
	return 1;
}

static __always_inline __u32 timeout_of(const struct ct_expire *t, const struct ct_key *k,
					__u8 flags)
{
	if (k->proto == IPPROTO_ICMP || k->proto == IPPROTO_ICMPV6)
		return t->icmp;
	if (k->proto != IPPROTO_TCP)
		return flags & CT_REPLIED ? t->udp_established : t->udp_new;
	if (is_over(flags))
		return t->tcp_closing;
	return flags & CT_ESTABLISHED ? t->tcp_established : t->tcp_new;
}

/* Everything of the input but its keys. */
#define HEAD (sizeof(struct ct_expire) - CT_EXPIRE_MAX * sizeof(struct ct_key))

/* What the program's functions pass on: one key after the other. */
struct expiry {
	__u8 head[HEAD];
	struct ct_key key, other, back;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct expiry);
	__uint(max_entries, 1);
} expiry SEC(".maps");

static __always_inline struct expiry *expiry_slot(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&expiry, &zero);
}

/* The other entry of a key's connection, to x->other, or, of x->other, to x->back. */
__weak int expire_other(int back)
{
	struct expiry *x = expiry_slot();
	struct ct_entry *e;

	if (!x)
		return 0;
	e = ct_find(back ? &x->other : &x->key, CT_TABLE);
	if (!e || !is_translated(e))
		return 0;
	return partner_key(back ? &x->other : &x->key, e, back ? &x->back : &x->other);
}

static __always_inline int key_equal(const struct ct_key *a, const struct ct_key *b)
{
	return addr_equal(&a->a, &b->a) && addr_equal(&a->b, &b->b) && a->port_a == b->port_a &&
	       a->port_b == b->port_b && a->proto == b->proto && a->echo == b->echo;
}

/*
 * Whether the connection of x->key is a translated one with another entry: x->other. The two live
 * as long as either is used. Not where only one of them says so: the opener has got another backend
 * since, or somebody else the answers' key.
 */
static __always_inline int expire_partner(const struct expiry *x)
{
	return expire_other(0) && expire_other(1) && key_equal(&x->key, &x->back);
}

/* What neither entry of a translated connection knows by itself: whether both ends have answered.
 */
static __always_inline __u8 answered(const struct ct_entry *a, const struct ct_entry *b)
{
	const struct ct_forward *f = (const struct ct_forward *)(a->flags & CT_IS_FORWARD ? a : b);
	const struct ct_reverse *r = (const struct ct_reverse *)(a->flags & CT_IS_FORWARD ? b : a);

	return f->packets > 1 && r->packets ? CT_ESTABLISHED : 0;
}

/*
 * Of a connection whose answers another node sends, only the opener's packets are known: one after
 * the first says that it was answered. Who is done is half of a close, and the other half is not
 * seen, so that it ends as if it were new.
 */
static __always_inline __u8 dsr_flags(const struct ct_entry *e)
{
	const struct ct_forward *f = (const struct ct_forward *)e;

	if (!(e->flags & CT_IS_FORWARD) || f->source != NAT_DSR || f->packets < 2)
		return 0;
	return e->flags & CT_FIN_ORIGINAL ? CT_REPLIED : CT_REPLIED | CT_ESTABLISHED;
}

/* Deletes a void entry, unless somebody is making it valid this very moment. */
static __always_inline int take_out(void *table, const struct ct_key *key, struct ct_entry *e)
{
	struct ct_entry kept = *e;

	if (bpf_map_delete_elem(table, key))
		return 0;
	if (!e->stamp)
		return 1;
	/* Void, since the one who made it valid may not be done: the next packet is judged. If the
	 * memory has become another connection's already, an idle one lives a little longer. */
	kept.stamp = 0;
	kept.seen = bpf_jiffies64();
	bpf_map_update_elem(table, key, &kept, BPF_NOEXIST);
	return 0;
}

/* Returns how many entries were deleted: that of x->key, and the other of a translated one. */
__weak int expire_one(void)
{
	struct expiry *x = expiry_slot();
	struct ct_entry *e, *partner;
	__u32 which = CT_TABLE, now, idle;
	int deleted;
	void *table = bpf_map_lookup_elem(&weir_ct, &which);
	__u8 flags;

	if (!x || !table)
		return 0;
	e = bpf_map_lookup_elem(table, &x->key);
	if (!e)
		return 0;
	now = bpf_jiffies64();
	idle = now - e->seen;
	flags = e->flags | dsr_flags(e);
	partner = expire_partner(x) ? bpf_map_lookup_elem(table, &x->other) : 0;
	if (partner) {
		flags |= partner->flags | answered(e, partner);
		if ((__s32)(now - partner->seen) < (__s32)idle)
			idle = now - partner->seen;
	}
	/* A packet that came after the clock was read makes it negative. */
	if ((__s32)idle < 0 ||
	    idle <= timeout_of((const struct ct_expire *)x->head, &x->key, flags))
		return 0;
	if (e->stamp) {
		e->stamp = 0;
		return 0;
	}
	deleted = take_out(table, &x->key, e);
	if (deleted && partner && !partner->stamp)
		deleted += take_out(table, &x->other, partner);
	return deleted;
}

SEC("tc")
int expire(struct __sk_buff *skb)
{
	struct expiry *x = expiry_slot();
	struct ct_expire *t;
	__u32 i, deleted = 0;

	if (!config.build || !x || bpf_skb_load_bytes(skb, L3, x->head, HEAD))
		return TC_ACT_SHOT;
	t = (struct ct_expire *)x->head;
	for (i = 0; i < CT_EXPIRE_MAX && i < t->count; i++) {
		if (bpf_skb_load_bytes(skb, L3 + HEAD + i * sizeof(x->key), &x->key,
				       sizeof(x->key)))
			break;
		deleted += expire_one();
	}
	t->count = deleted;
	t->now = bpf_jiffies64();
	if (bpf_skb_store_bytes(skb, L3, x->head, HEAD, 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
