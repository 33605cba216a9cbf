//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Names every type of layout.h, so that all are in this object's BTF. See main.go. */
#include "../layout.h"

struct everything {
	struct endpoint endpoint;
	struct ipcache_key ipcache_key;
	struct ipcache_entry ipcache_entry;
	struct budget budget;
	struct metric metric;
	struct config config;
	struct node node;
	struct ct_key ct_key;
	struct ct_entry ct_entry;
	struct ct_expire ct_expire;
	struct fragment_key fragment_key;
	struct fragment fragment;
	struct policy policy;
	struct policy_set policy_set;
	struct policy_row_key policy_row_key;
	struct policy_row policy_row;
	struct policy_rule_key policy_rule_key;
	struct policy_rule policy_rule;
	struct policy_range_key policy_range_key;
	struct event event;
	struct dns_answer dns_answer;
	struct walk_filter walk_filter;
	struct walk walk;
	struct step step;
	struct ct_forward ct_forward;
	struct ct_reverse ct_reverse;
	struct service_key service_key;
	struct service service;
	struct slots slots;
	struct backend backend;
	struct frontend frontend;
	struct affinity_key affinity_key;
	struct affinity affinity;
	struct source_range source_range;
	struct socket_peer socket_peer;
	struct socket_peers socket_peers;
	struct socket_user socket_user;
	struct l2_key l2_key;
	struct l2_entry l2_entry;
	enum nat_source nat_source;
	enum masquerade masquerade;
	enum service_flag service_flag;
	enum limits limits;
	enum identity identity;
	enum place place;
	enum reason reason;
	enum ipcache_flag ipcache_flag;
	enum endpoint_flag endpoint_flag;
	enum ct_flag ct_flag;
	enum ct_out ct_out;
	enum policy_flag policy_flag;
	enum policy_level policy_level;
	enum rule_flag rule_flag;
	enum event_kind event_kind;
	enum fib_answer fib_answer;
	enum step_how step_how;
	enum monitor monitor;
};

struct everything everything;
