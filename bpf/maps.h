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
