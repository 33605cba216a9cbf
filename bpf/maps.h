/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Every map. All are pinned below weir/maps and outlive the agent; sizes given here are defaults
 * that the agent's configuration may change.
 */
#pragma once
#include "lib.h"

/*
 * The pods of this node. Key: endpoint id, which is the device's ifindex - IFINDEX_BASE, so that a
 * packet's device finds its row without hashing. Slot 0 stays empty.
 * Written by control/endpoint, read by every program. 4096 pods of 64 bytes are 256 KiB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct endpoint);
	__uint(max_entries, 4096);
} weir_endpoints SEC(".maps");

/*
 * Address to identity and way, for the whole cluster. Longest prefix wins; 0.0.0.0/0 and ::/0 are
 * the world, so that a lookup misses only while the agent has never run.
 * Written by control/ipcache, read by every program. Entries are allocated as they come.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipcache_key);
	__type(value, struct ipcache_entry);
	__uint(max_entries, 512000);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_ipcache SEC(".maps");

/*
 * Packets and bytes by place and reason. Index: place * REASONS + reason.
 * Written by every program, on its own CPU without locks; read by the agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct metric);
	__uint(max_entries, PLACES *REASONS);
} weir_metrics SEC(".maps");

/*
 * Other nodes by number. Written by control/ipcache, read when a connection's packets go through
 * the tunnel, so that they need no lookup of their destination. 64k rows of 16 bytes are 1 MiB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct node);
	__uint(max_entries, 4096);
} weir_nodes SEC(".maps");

/*
 * One number for each slot of addresses (see addr_slot), another one whenever an address of the
 * slot gets another owner, identity or node, or datagrams to it are for a service: verdicts of
 * connections with it are void then. Written by control/ipcache after weir_ipcache and by
 * control/service after weir_services, read for each packet of a connection.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, GENERATIONS);
} weir_generations SEC(".maps");

/*
 * Connections. [0] is the table in use; [1] is its predecessor while the agent moves entries over
 * to a larger one, and empty otherwise: who misses an entry in [0] looks there, too, so that
 * growing loses none. The tables are preallocated: an insertion never waits, and fails when full.
 * Written by every program and by the sweep; read by the agent. Key, value and the kernel's own
 * make 136 bytes for each connection, both directions, and 16 of bucket.
 */
struct ct_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, sizeof(struct ct_key));
	__uint(value_size, sizeof(struct ct_entry));
	__uint(max_entries, 65536);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 2);
	__array(values, struct ct_table);
} weir_ct SEC(".maps");

/*
 * Ports of fragmented datagrams, by the first fragment, for the later ones. Written and read by
 * every program; the least recently used goes first.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
	__uint(max_entries, 8192);
} weir_fragments SEC(".maps");

/*
 * The policy of each endpoint, by its id; 0 is the host.
 * Written by control/policy, read for each packet: its epoch is what a connection's verdict hangs
 * on.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct policy);
	__uint(max_entries, 4096);
} weir_policy SEC(".maps");

/*
 * Identity to the set of selectors that it meets, and address prefix to the set of CIDR selectors
 * that it meets: the prefix's own and those of all wider ones. 0: none.
 * Written by control/policy, read for the first packet of a connection.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_policy_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipcache_key);
	__type(value, __u32);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_policy_cidrs SEC(".maps");

/* Sets of selectors, each distinct one once. 0 is the empty set. A row's content never changes
 * while anything names it. Written by control/policy. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct policy_set);
	__uint(max_entries, 16384);
} weir_policy_sets SEC(".maps");

/*
 * Rules of policy classes: endpoints that the same policies select share a class. For a class, a
 * direction and a port there is a row, which says which selectors have a rule there, and one entry
 * of weir_policy_rules for each of them. Written by control/policy, rules before the row that names
 * them, denials before what they take away is allowed elsewhere.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct policy_row_key);
	__type(value, struct policy_row);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_policy_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct policy_rule_key);
	__type(value, struct policy_rule);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_policy_rules SEC(".maps");

/* Port ranges: the ports that the same ranges of a class cover have one number. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct policy_range_key);
	__type(value, __u32);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_policy_ranges SEC(".maps");

/* Packets and bytes by rule: index is struct policy_rule's id. Written by every program on its own
 * CPU, read by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct metric);
	__uint(max_entries, 65536);
} weir_policy_counters SEC(".maps");

/*
 * Services. Each of the next four is a map in a map of one: when it is full, the agent, who alone
 * writes it, fills a larger one and puts that in its place, so that nobody needs to say how many
 * services there will be. Written by control/service, read for the first packet of a connection,
 * and by sockets.
 */
struct service_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, sizeof(struct service_key));
	__uint(value_size, sizeof(struct service));
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct service_table);
} weir_services SEC(".maps");

struct slot_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct slots));
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_INNER_MAP);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct slot_table);
} weir_slots SEC(".maps");

/* Read for every packet of a connection to a backend, too: its address is here only. */
struct backend_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct backend));
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_INNER_MAP);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct backend_table);
} weir_backends SEC(".maps");

/* Read for every answer of a backend. */
struct frontend_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct frontend));
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_INNER_MAP);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 1);
	__array(values, struct frontend_table);
} weir_frontends SEC(".maps");

/*
 * Which backend a client of a service with affinity had last. Written by every program that chooses
 * one; who has not come for longest goes first. 88 bytes each.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
	__uint(max_entries, 16384);
} weir_affinity SEC(".maps");

/* From where a service with loadBalancerSourceRanges may be asked for. The value says nothing.
 * Written by control/service, read for the first packet of a connection from outside. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct source_range);
	__type(value, __u32);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_source_ranges SEC(".maps");

/* Where this node's address does not take a pod's place: prefixes. Value: enum masquerade. Written
 * by control/masquerade, read for the first packet of a connection that leaves the cluster. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct ipcache_key);
	__type(value, __u32);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_unmasqueraded SEC(".maps");

/* How often connections that needed a port found one: at once (row 0), at the second try (1), the
 * third and fourth (2), and so on in powers of two; the last row: never. Written by every program
 * on its own CPU, read by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, NAT_RETRY_ROWS);
} weir_nat_retries SEC(".maps");

/*
 * Where services of other nodes were asked (asked.h): those that packets with a node's option were
 * for, and NodePorts that pods ask another node for. Written by the programs of the node that
 * answers in that name, read for each answer. One row serves all connections, so what is in use
 * does not get old; 56 bytes each.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u32);
	__type(value, struct frontend);
	__uint(max_entries, 65536);
} weir_dsr SEC(".maps");

/* Addresses of services that this node answers for on the link of a device, though no device has
 * them. Written by control/l2announce, read for questions of neighbours; the counter by
 * from_netdev.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct l2_key);
	__type(value, struct l2_entry);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} weir_l2 SEC(".maps");

/* Which packets are followed. Written by the agent while somebody asks for it, read once for each
 * packet that is looked up, and once when it goes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct walk);
	__uint(max_entries, 1);
} weir_walk SEC(".maps");

/* How many events of drops there were lately, for all programs of a CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct budget);
	__uint(max_entries, 1);
} weir_event_budget SEC(".maps");

/* Their steps: struct step. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} weir_steps SEC(".maps");

/*
 * What is worth saying: struct event. Verdicts have a lane of their own, drops and new connections,
 * so that no number of other packets takes their room. Written by every program, which never wakes
 * the reader; the agent looks now and then. Full: lost and counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096 * 1024);
} weir_events SEC(".maps");

/* All other packets that there is an event of. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096 * 1024);
} weir_traces SEC(".maps");

/* Answers of DNS: struct dns_answer. Written by every program that sends into a pod, never waking
 * the agent, who reads. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} weir_dns SEC(".maps");
