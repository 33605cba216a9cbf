//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Ends sockets that are connected, by way of a service, to a backend that is no more: their
 * processes get ECONNABORTED at once, instead of waiting for somebody who will not answer.
 *
 * The programs are iterators over all sockets of a network namespace. They are attached to nothing:
 * the agent runs them, in the namespaces that weir_socket_users names, when a backend has gone.
 * Which sockets it means is told by what connect has noted with each and by weir_backends, and by
 * nothing else. So one that has the same peer without a service is never touched, and it does not
 * matter when and why the backend went. The kernel holds the socket's lock meanwhile, as
 * bpf_sock_destroy asks for (Linux 6.5).
 *
 * Output: one octet for each socket that was ended.
 */
#include "service.h"
#include "socket.h"

/* Of the kernel's structures what is read here; the loader finds out where it is. */
#define KERNEL __attribute__((preserve_access_index))

struct in6_addr___kernel {
	union {
		__u32 u6_addr32[4];
	} in6_u;
} KERNEL;

struct sock_common {
	__u32 skc_daddr;
	__u16 skc_dport, skc_family;
	struct in6_addr___kernel skc_v6_daddr;
} KERNEL;

struct udp_sock;
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} KERNEL;

/* Contexts of the iterators; each field has eight octets. */
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;

/* Whether the backend has gone. Without a map of backends nobody knows. */
static __always_inline int is_stale(const struct socket_peer *p)
{
	return only(&weir_backends) && !backend_still(p->backend_row, p->generation);
}

/* Whether the note is of the connection that the socket has. It is not after a connect that failed,
 * or when the socket was ended already. */
static __always_inline int is_peer(struct sock_common *sk, const struct socket_peer *p)
{
	__u32 to = sk->skc_family == AF_INET6 ? sk->skc_v6_daddr.in6_u.u6_addr32[3] : sk->skc_daddr;

	return sk->skc_dport == p->backend_port && to == p->backend.w[3];
}

/* The note stays: is_peer tells that it is of no connection any more. */
static __always_inline void end_stale(struct bpf_iter_meta *meta, struct sock_common *sk)
{
	struct socket_peer *p = bpf_sk_storage_get(&weir_socket_peer, sk, 0, 0);
	__u8 ended = 1;

	if (!p || !is_peer(sk, p) || !is_stale(p) || bpf_sock_destroy(sk))
		return;
	tally(REASON_SOCKET_ENDED);
	bpf_seq_write(meta->seq, &ended, sizeof(ended));
}

SEC("iter/tcp")
int end_tcp(struct bpf_iter__tcp *ctx)
{
	if (ctx->sk_common)
		end_stale(ctx->meta, ctx->sk_common);
	return 0;
}

SEC("iter/udp")
int end_udp(struct bpf_iter__udp *ctx)
{
	if (ctx->udp_sk)
		end_stale(ctx->meta, (struct sock_common *)ctx->udp_sk);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
