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
#include "parse.h"

static __always_inline __u32 timeout_of(const struct ct_expire *t, const struct ct_key *k,
					const struct ct_entry *e)
{
	if (k->proto == IPPROTO_ICMP || k->proto == IPPROTO_ICMPV6)
		return t->icmp;
	if (k->proto != IPPROTO_TCP)
		return e->flags & CT_REPLIED ? t->udp_established : t->udp_new;
	if (e->flags & (CT_RESET | CT_RESET_REPLY) ||
	    (e->flags & (CT_FIN_ORIGINAL | CT_FIN_REPLY)) == (CT_FIN_ORIGINAL | CT_FIN_REPLY))
		return t->tcp_closing;
	return e->flags & CT_ESTABLISHED ? t->tcp_established : t->tcp_new;
}

/* Returns 1 when the connection was deleted. */
static __always_inline int expire_one(const struct ct_expire *t, const struct ct_key *key)
{
	struct ct_entry *e, kept;
	__u32 which = 0, idle;
	void *table = bpf_map_lookup_elem(&weir_ct, &which);

	if (!table)
		return 0;
	e = bpf_map_lookup_elem(table, key);
	if (!e)
		return 0;
	idle = (__u32)bpf_jiffies64() - e->seen;
	/* A packet that came after the clock was read makes it negative. */
	if ((__s32)idle < 0 || idle <= timeout_of(t, key, e))
		return 0;
	if (e->stamp) {
		e->stamp = 0;
		return 0;
	}
	kept = *e;
	if (bpf_map_delete_elem(table, key))
		return 0;
	if (!e->stamp)
		return 1;
	/* Void, since the one who made it valid may not be done: the next packet is judged. If the
	 * memory has become another connection's already, an idle one lives a little longer. */
	kept.seen = bpf_jiffies64();
	bpf_map_update_elem(table, key, &kept, BPF_NOEXIST);
	return 0;
}

/* Everything of the input but its keys. */
#define HEAD offsetof(struct ct_expire, keys)

SEC("tc")
int expire(struct __sk_buff *skb)
{
	__u8 head[HEAD] __attribute__((aligned(8)));
	struct ct_expire *t = (struct ct_expire *)head;
	struct ct_key key;
	__u32 i, deleted = 0;

	if (!config.build || bpf_skb_load_bytes(skb, L3, head, sizeof(head)))
		return TC_ACT_SHOT;
	for (i = 0; i < CT_EXPIRE_MAX && i < t->count; i++) {
		if (bpf_skb_load_bytes(skb, L3 + HEAD + i * sizeof(key), &key, sizeof(key)))
			break;
		deleted += expire_one(t, &key);
	}
	t->count = deleted;
	t->now = bpf_jiffies64();
	if (bpf_skb_store_bytes(skb, L3, head, sizeof(head), 0))
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
