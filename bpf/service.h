/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services: from an address and port to one of the backends behind it.
 *
 * Decides from weir_services, weir_slots, weir_backends and weir_affinity. It knows neither packets
 * nor sockets, and uses no slot of the CPU: the programs of sock.c may be interrupted by those that
 * see packets.
 */
#pragma once
#include "config.h"
#include "maps.h"

/* A backend that was chosen. */
struct choice {
	__u32 number; /* of its row in weir_backends; 0: there is none */
	__u32 generation;
	struct addr addr;
	__u16 port; /* network byte order */
};

/* The map that is in a map of one. */
static __always_inline void *only(void *outer)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(outer, &zero);
}

static __always_inline const struct service *service_find(const struct addr *a, __u16 port,
							  __u8 proto)
{
	struct service_key key = {.addr = *a, .port = port, .proto = proto};
	void *table = only(&weir_services);

	return table ? bpf_map_lookup_elem(table, &key) : 0;
}

static __always_inline const struct backend *backend_find(__u32 number)
{
	void *table = only(&weir_backends);
	const struct backend *b = table ? bpf_map_lookup_elem(table, &number) : 0;

	return b && !addr_is_zero(&b->addr) ? b : 0;
}

/* The same, if it is the one that had that generation; NULL: it is no more. */
static __always_inline const struct backend *backend_still(__u32 number, __u32 generation)
{
	const struct backend *b = backend_find(number);

	return b && b->generation == generation ? b : 0;
}

/* The backend in a slot, or 0. */
static __always_inline __u32 slot_read(__u32 slot)
{
	void *table = only(&weir_slots);
	__u32 row = slot / ROW_SLOTS;
	const struct slots *s = table ? bpf_map_lookup_elem(table, &row) : 0;

	return s ? s->backends[slot % ROW_SLOTS] : 0;
}

static __always_inline int choice_set(struct choice *c, __u32 number)
{
	const struct backend *b = number ? backend_find(number) : 0;

	c->number = 0;
	if (!b)
		return 0;
	c->number = number;
	c->generation = b->generation;
	c->addr = b->addr;
	c->port = b->port;
	return 1;
}

/* Rows of slots that are searched for a client's old backend when the selection has changed. */
#define AFFINITY_ROWS 16

/* Bits of the slots of a row that have a backend, without a branch: the verifier would walk each
 * way through sixteen of them. */
static __always_inline __u32 row_find(const struct slots *s, __u32 backend)
{
	__u32 j, differs, bits = 0;

	for (j = 0; j < ROW_SLOTS; j++) {
		differs = s->backends[j] ^ backend;
		bits |= (~differs & (differs - 1)) >> 31 << j;
	}
	return bits;
}

/* Where a selection has a backend; its end when it is not among those that are searched. A function
 * of its own, so that the verifier looks at the loop once. */
__weak __u32 slot_of(__u32 first, __u32 count, __u32 backend)
{
	void *table = only(&weir_slots);
	const struct slots *s;
	__u32 i, row, at = 0, bits = 0;

	for (i = 0; table && i < AFFINITY_ROWS && i * ROW_SLOTS < count; i++) {
		row = first / ROW_SLOTS + i;
		s = bpf_map_lookup_elem(table, &row);
		bits = s ? row_find(s, backend) : 0;
		at = i * ROW_SLOTS;
		if (bits)
			break;
	}
	for (i = 0; i < ROW_SLOTS; i++)
		if (bits >> i & 1 && at + i < count)
			return first + at + i;
	return first + count;
}

static __always_inline __u32 seconds(void)
{
	return bpf_ktime_get_ns() / 1000000000;
}

/* The backend that the client had last, if the selection has it still and it was not long ago. */
static __always_inline int affinity_find(const struct service *s, const struct selection *from,
					 const struct affinity_key *client, struct choice *c)
{
	struct affinity *a = bpf_map_lookup_elem(&weir_affinity, client);
	__u32 now = seconds();

	if (!a || now - a->used > s->affinity)
		return 0;
	if (a->slot - from->first >= from->count || slot_read(a->slot) != a->backend) {
		a->slot = slot_of(from->first, from->count, a->backend);
		if (a->slot - from->first >= from->count)
			return 0;
	}
	if (!choice_set(c, a->backend) || c->generation != a->generation)
		return 0;
	a->used = now;
	return 1;
}

/*
 * Chooses for a client. hash says which slot; of who chooses by chance it is any number.
 * Returns 0 when there is no backend.
 */
static __always_inline int service_choose(const struct service *s, const struct selection *from,
					  const struct addr *client, __u32 hash, struct choice *c)
{
	struct affinity_key key = {.client = *client, .service = s->id};
	struct affinity a = {};

	c->number = 0;
	if (!from->count)
		return 0;
	if (s->affinity && affinity_find(s, from, &key, c))
		return 1;
	a.slot = from->first + hash % from->count;
	if (!choice_set(c, slot_read(a.slot)))
		return 0;
	if (s->affinity) {
		a.used = seconds();
		a.backend = c->number;
		a.generation = c->generation;
		bpf_map_update_elem(&weir_affinity, &key, &a, BPF_ANY);
	}
	return 1;
}
