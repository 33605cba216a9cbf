/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The sum of an SCTP packet whose ports change: a CRC32c over all of it (RFC 9260 section 6.8).
 *
 * A CRC is linear: what four octets at the begin change is what they differ by, times x to the
 * number of bits from there to the end, modulo the polynomial. So no other octet is read. Numbers
 * are reflected, as the CRC is: the highest bit is x to the 0.
 */
#pragma once
#include "ports.h"

#define CRC32C 0x82f63b78u

/* Where the sum is, from the SCTP header on. It is little endian, as the machine is. */
#define SCTP_SUM 8

/* a times b. A function of its own, so that the verifier looks at the loop once. */
__weak __u32 crc32c_times(__u32 a, __u32 b)
{
	__u32 i, product = 0;

	for (i = 0; i < 32; i++) {
		product ^= b & -(a >> 31);
		a <<= 1;
		b = (b >> 1) ^ (CRC32C & -(b & 1));
	}
	return product;
}

/* x to the number of bits in so many octets. */
static __always_inline __u32 crc32c_shift(__u16 octets)
{
	/* To 8, 16, 32 and so on. */
	static const __u32 power[16] = {0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c,
					0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
					0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a,
					0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc};
	__u32 i, out = 1u << 31;

#pragma unroll
	for (i = 0; i < 16; i++)
		if (octets >> i & 1)
			out = crc32c_times(power[i], out);
	return out;
}

/*
 * The ports have changed from was to is. Zero is no sum yet: a device or the kernel makes it when
 * the packet leaves. Of a fragment nobody knows how long the whole is.
 */
static __always_inline int sctp_sum(struct __sk_buff *skb, const struct packet *p, __u32 was,
				    __u32 is)
{
	__u32 sum, at = p->l4 + SCTP_SUM;

	if (bpf_skb_load_bytes(skb, at, &sum, sizeof(sum)))
		return -1;
	if (!sum)
		return 0;
	if (p->fragment)
		return -1;
	sum ^= crc32c_times(crc32c_shift(p->len - (p->l4 - L3)), was ^ is);
	return bpf_skb_store_bytes(skb, at, &sum, sizeof(sum), BPF_F_RECOMPUTE_CSUM);
}
