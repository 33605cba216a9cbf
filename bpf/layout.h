/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Everything that crosses between C and Go: the structs of the maps, the load-time constants and
 * the enums. It is the only definition; `make generate` writes layout_gen.go from it.
 * sizes: whoever looks for a struct of a map finds it here, and nowhere else.
 *
 * Rules: no holes (an LPM trie matches them), padding is named pad, sizes are asserted, fields in
 * network byte order have a wrapped type so that mixing orders does not compile.
 */
#pragma once
#include <linux/types.h>

/* An IPv6 address in network byte order; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
struct addr {
	__u32 w[4];
};

struct mac {
	__u8 bytes[6];
};

enum limits {
	/* A pod's host device has the interface index IFINDEX_BASE + its endpoint id. */
	IFINDEX_BASE = 1000000,
	ENDPOINTS_MAX = 16384,
	VLAN_BYPASS_MAX = 8,
	/* vlan_bypass[0] == VLAN_ALL lets every VLAN pass. */
	VLAN_ALL = 0xffff,
	/* A metric's index is place * REASONS + reason. */
	REASONS = 256,
	PLACES = 16,
	DROP_FIRST = 130,	   /* reasons from here on are drops */
	NODES_MAX = 65536,	   /* rows of weir_nodes */
	GENERATIONS = 16384,	   /* slots of weir_generations; a power of two */
	SET_SELECTORS = 30,	   /* selectors in one row of weir_policy_sets */
	SET_CHAIN = 4,		   /* rows that one peer's selectors may fill */
	SELECTOR_EVERYBODY = 0,	   /* matches every peer; never in a set */
	SELECTOR_OUTSIDE = 0x8000, /* bit of a selector in a CIDR's set: only who is no member of
				      the cluster */
	SELECTORS_MAX = 0x7fff,
	FAILSAFES_MAX = 16,
	CT_EXPIRE_MAX = 64,  /* connections in one run of expire */
	ROW_SLOTS = 16,	     /* backends in one row of weir_slots */
	NAT_RETRY_ROWS = 10, /* rows of weir_nat_retries */
	WALK_FILTERS = 4,    /* rows of weir_walk; a power of two */
	PEERS_MAX = 16,	     /* services that an unconnected socket can hear from at a time */
	DNS_OCTETS = 512,    /* of a DNS answer that are copied: all that is sent to who asks for no
				more (RFC 1035 section 4.2.1) */
};

/* Security identities that have a meaning of their own. */
enum identity {
	IDENTITY_UNKNOWN = 0,
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_HEALTH = 4,
	IDENTITY_INIT = 5,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_KUBE_APISERVER = 7,
	IDENTITY_INGRESS = 8,
	IDENTITY_WORLD_IPV4 = 9, /* where both families are on */
	IDENTITY_WORLD_IPV6 = 10,
	IDENTITY_LOCAL = 0x1000000, /* from here on: of one node, never on a wire */
};

/* Where a packet was judged: one for each program. */
enum place {
	PLACE_NONE = 0,
	PLACE_FROM_POD = 1,
	PLACE_TO_POD = 2,
	PLACE_FROM_OVERLAY = 3,
	PLACE_TO_OVERLAY = 4,
	PLACE_FROM_NETDEV = 5,
	PLACE_TO_NETDEV = 6,
	PLACE_FROM_HOST = 7,
	PLACE_TO_HOST = 8,
	PLACE_SOCKET = 9, /* the programs of sock.c: they see sockets, not packets */
	PLACE_FROM_XDP = 10,
};

/*
 * What became of a packet. From 130 on it was not let through; the numbers up to 207 are those the
 * field knows from Cilium's drop reasons.
 */
enum reason {
	REASON_NONE = 0,
	REASON_TO_ENDPOINT = 64, /* redirected into a pod of this node */
	REASON_TO_OVERLAY = 65,	 /* redirected into the tunnel */
	REASON_TO_NETWORK = 66,	 /* redirected to a neighbour on the underlay */
	REASON_TO_STACK = 67,	 /* left to the host's network stack to route */
	REASON_TO_HOST = 68,	 /* for this node itself */
	REASON_PASSED = 69,	 /* seen, not judged, let on */
	REASON_ARP_ANSWERED = 70,
	REASON_NDP_ANSWERED = 71,
	REASON_LINK_CHATTER = 72, /* MLD, IGMP, router solicitation, duplicate address detection */
	REASON_VLAN_BYPASSED = 73,
	REASON_FRAGMENTED = 74, /* too big, may be fragmented: left to the stack for that */
	REASON_EVENT_LOST = 77, /* counted at PLACE_NONE, in events: weir_events was full */
	REASON_RESET = 75,	/* refused, and the sender told: TCP RST */
	REASON_PROHIBITED = 76, /* refused, and the sender told: ICMP administratively prohibited */
	REASON_SOCKET_CONNECTED = 78, /* PLACE_SOCKET: a service's backend took its place */
	REASON_SOCKET_SENT =
		79, /* PLACE_SOCKET: the same for a datagram of an unconnected socket */
	REASON_SOCKET_CLOSED = 80,  /* PLACE_SOCKET: one that was connected so is no more */
	REASON_SOCKET_ENDED = 81,   /* PLACE_SOCKET: one was ended, since its backend is no more */
	REASON_SOCKET_UNNOTED = 82, /* PLACE_SOCKET: weir_socket_users was full */
	REASON_TOO_BIG = 83,	    /* refused, and the sender told which size fits: ICMP */
	REASON_TRACE_LOST = 84,	    /* counted at PLACE_NONE, in events: weir_traces was full */
	REASON_UNREACHABLE = 86,    /* refused, and the sender told: ICMP port unreachable */
	REASON_DNS_LOST = 85,	    /* counted at PLACE_NONE, in answers: weir_dns was full */
	DROP_INVALID_SOURCE_IP = 132,
	DROP_POLICY = 133, /* no rule allows it */
	DROP_INVALID_PACKET = 134,
	DROP_FRAG_NEEDED = 136,	   /* the host's stack answers with ICMP */
	DROP_UNSUPPORTED_L3 = 139, /* a family that is switched off */
	DROP_WRITE_ERROR = 141,
	DROP_TUNNEL_KEY = 147,
	DROP_UNKNOWN_TARGET = 150, /* an address that cannot be anybody's, or ARP for a stranger */
	DROP_UNROUTABLE = 151,	   /* in this node's pod CIDR, and no pod has it */
	DROP_NO_ENDPOINT = 152,	   /* came through the tunnel for no pod of this node */
	DROP_NO_BACKEND = 158,	   /* a service without a backend for this client */
	DROP_UNSUPPORTED_L2 = 166,
	DROP_NAT_PORTS = 167,	 /* no port is left for the connection */
	DROP_NAT_PROTOCOL = 168, /* a protocol whose packets cannot be translated */
	DROP_CLUSTER_IP = 174,	 /* from outside, for an address that is for the cluster only */
	DROP_SOURCE_RANGE = 177, /* the client is not of a service's loadBalancerSourceRanges */
	DROP_CT_FULL = 155,	 /* weir_ct has no room for another connection */
	DROP_NO_POLICY = 165,	 /* the endpoint's policy is not in the maps yet */
	DROP_FIB = 169,		 /* no way: see enum fib_answer; the host's stack may answer */
	DROP_FRAGMENT = 175,	 /* a later fragment, whose first one was not seen */
	DROP_POLICY_DENY = 181,	 /* a deny rule matches */
	DROP_VLAN = 182,
	DROP_TTL_EXCEEDED = 196, /* the host's stack answers with ICMP */
	DROP_HOST_NOT_READY = 202,
	DROP_POD_NOT_READY = 203, /* its row is not in weir_endpoints */
	DROP_MULTICAST = 220,	  /* pods have no multicast routing */
	DROP_TUNNEL_SOURCE = 221, /* from a node that does not have the inner sender */
	DROP_DSR =
		222, /* says that a service was asked, and cannot come from who forwards for it */
};

/* Flags of an ipcache entry. */
enum ipcache_flag {
	IPCACHE_HOST = 1,	/* an address of this node */
	IPCACHE_LOCAL_CIDR = 2, /* this node's pod CIDR: addresses no pod has */
};

/* Flags of an endpoint. */
enum endpoint_flag {
	ENDPOINT_HEALTH = 1, /* the node's health endpoint, no pod */
};

/* A pod of this node: value of weir_endpoints, whose index is the endpoint's id. */
struct endpoint {
	struct addr ipv4; /* all zero: it has none */
	struct addr ipv6; /* all zero: it has none */
	__u32 id;	  /* 0: the slot is free */
	__u32 ifindex;	  /* host device */
	__u32 identity;
	__u16 flags;	     /* enum endpoint_flag */
	struct mac mac;	     /* of the pod's interface */
	struct mac node_mac; /* of the host device: the gateway's, as the pod sees it */
	__u16 pad[3];
};

/* An address prefix: key of weir_ipcache. */
struct ipcache_key {
	__u32 prefix_len; /* bits of addr that count: an IPv4 /24 is 96 + 24 */
	struct addr addr;
};

/* Who has a prefix and how to get there: value of weir_ipcache. */
struct ipcache_entry {
	struct addr tunnel_endpoint; /* the node that has it; all zero: not on another node */
	__u32 identity;
	__u32 endpoint; /* id of a pod of this node, or 0 */
	__u8 flags;	/* enum ipcache_flag */
	__u8 encrypt_key;
	__u16 node; /* of tunnel_endpoint, or of the node whose own address it is: the row in
		       weir_nodes, or 0. Of an address of this node: its own row, if pods leave
		       the cluster by its device with it */
	__u32 pad;
};

/* Another node, as the tunnel sees it, or a further address of this one: value of weir_nodes, whose
 * index is the number that ipcache entries and connections have. A number means one address for as
 * long as anything uses it. */
struct node {
	struct addr addr; /* on the underlay; all zero: the slot is free */
};

/*
 * A connection: key of weir_ct. One entry serves both directions, so the two ends stand in an order
 * that does not depend on the packet: a is the one whose (address, port) is less, word by word.
 *
 * Ports are as in the packet; of ICMP and ICMPv6 echo the one who asks has the identifier, the
 * other the request's type (8 or 128) in the low byte of the port, and echo says who asks: a
 * request never looks like the answer to another, whatever its identifier.
 */
struct ct_key {
	struct addr a, b;
	__u16 port_a, port_b; /* network byte order */
	__u8 proto;
	__u8 echo; /* 0: it is none; 1: a asks, 2: b */
	__u8 pad[2];
};

enum ct_flag {
	CT_RESET_REPLY = 1,  /* TCP: the other end has reset, and sent nothing since */
	CT_REPLIED = 2,	     /* a packet came back */
	CT_FIN_ORIGINAL = 4, /* TCP: the opener is done */
	CT_FIN_REPLY = 8,    /* TCP: the other end is done */
	CT_RESET = 16,	     /* TCP: the opener has reset, and sent nothing since */
	CT_ESTABLISHED = 32, /* TCP: the opener has answered an answer */
	CT_IS_FORWARD = 64,  /* its packets are translated: see struct ct_forward */
	CT_IS_REVERSE = 128, /* and these are the answers: see struct ct_reverse */
};

/* Which way packets of one direction go on. Index: see enum ct_out. */
enum ct_out {
	OUT_UNKNOWN = 0,  /* no packet of this direction was routed yet */
	OUT_ENDPOINT = 1, /* index: endpoint id */
	OUT_TUNNEL = 2,	  /* index: row of weir_nodes */
	OUT_FIB = 3,	  /* the kernel's routing table says. index: with NAT_NODE the row of
			     weir_nodes that has the opener's address; 0: config has it. Else
			     that of the node whose own address it is, or 0 */
	OUT_HOST = 4,	  /* this node's own stack */
	OUT_STACK = 5,	  /* likewise, for an endpoint of this node, whose id is the index: the
			     stack has forwarded its packets, and translates the answers */
	OUT_DSR = 6, /* only of answers: as OUT_FIB, and they come from the service that rule[0], a
			key of weir_dsr, stands for */
};

/*
 * What is known of a connection: value of weir_ct. [0] is the direction of the opener, [1] the
 * other. The verdict holds for as long as stamp is what the epochs of both ends make: see
 * conntrack.h. Counters are of packets that were let through, by all CPUs without locks: close, not
 * exact, when both directions run at once.
 */
struct ct_entry {
	__u64 bytes[2];	  /* from the Ethernet header on */
	__u32 packets[2]; /* on the wire */
	__u32 rule[2]; /* that allowed it: [0] egress, [1] ingress; row of weir_policy_counters, 0:
			  none was needed. See OUT_DSR, too */
	__u32 seen;    /* low bits of jiffies of the last packet */
	__u32 stamp;
	__u16 out[2]; /* index of the way out */
	__u8 way[2];  /* enum ct_out */
	__u8 flags;   /* enum ct_flag */
	__u8 opener;  /* 0: a opened it, 1: b */
};

/* Families whose pods leave the cluster as their node: bits of config.masquerade. */
enum masquerade {
	MASQUERADE_IPV4 = 1,
	MASQUERADE_IPV6 = 2,
};

/* Whose address takes the opener's place. */
enum nat_source {
	NAT_NONE = 0,	/* nobody's: its own address and port stay */
	NAT_PORT = 1,	/* its own address, with another port */
	NAT_NODE = 2,	/* this node's */
	NAT_ROUTER = 3, /* the router's: a pod that is its own backend */
	NAT_DSR = 4, /* nobody's, and the packet says whom it asked: its backend's node answers */
};

/*
 * A connection whose packets are translated has two entries, since its packets have other addresses
 * on either side: one by the addresses that the opener knows, for its packets, and one by those
 * that the other end knows, for the answers. Each is as large as a ct_entry, and has the fields
 * from seen on in common with it. The verdict is on the opener's own address and the backend's.
 */
struct ct_forward {
	__u64 bytes;
	__u32 backend;	  /* row of weir_backends, or 0: the destination stays */
	__u32 generation; /* of that row: another one is another backend */
	__u32 packets;
	__u16 nat_port; /* of the opener beyond this node, network byte order; 0 with NAT_NONE */
	__u8 source;	/* enum nat_source */
	__u8 world;	/* with NAT_NODE: the opener's identity, if it is the world; or 0 */
	__u32 rule[2];
	__u32 seen;
	__u32 stamp;
	__u16 out[2];
	__u8 way[2];
	__u8 flags;
	__u8 opener;
};

struct ct_reverse {
	struct addr addr; /* of the opener */
	__u32 packets;
	__u32 frontend; /* row of weir_frontends, whose address the opener knows; 0: the sender's */
	__u32 bytes;	/* modulo 2^32; see bytes_high */
	__u16 port;	/* of the opener, network byte order */
	__u16 bytes_high; /* times 2^32 */
	__u32 seen;
	__u32 stamp;
	__u16 out[2];
	__u8 way[2];
	__u8 flags;
	__u8 opener;
};

/*
 * An address and port at which a service is asked for: key of weir_services. The unspecified
 * address of a family (0.0.0.0, which is mapped as any other, and ::) stands for every address of
 * any node: what sockets look up when they name a NodePort.
 */
struct service_key {
	struct addr addr;
	__u16 port; /* network byte order */
	__u8 proto;
	__u8 pad;
};

enum service_flag {
	SERVICE_EXTERNAL = 1, /* may be asked for from outside of the cluster */
	SERVICE_NODEPORT = 2,
	SERVICE_RANGES = 4, /* only by clients in weir_source_ranges, and the node itself */
	SERVICE_MAGLEV = 8, /* the slot follows from the connection, on every node alike */
	SERVICE_KEEP_CLIENT =
		16,	  /* externalTrafficPolicy Local: no address takes the client's place */
	SERVICE_DSR = 32, /* the backend's node answers the client itself */
	SERVICE_DROP_INSIDE = 64, /* no backend because of a traffic policy: dropped, not refused */
	SERVICE_DROP_OUTSIDE = 128,
	SERVICE_ELSEWHERE = 256, /* a HostPort at another node: a NodePort goes before it */
};

/* Backends to choose from: slots first to first + count - 1. A row of weir_slots has ROW_SLOTS
 * slots, and first is the first slot of a row. What is in the slots does not change while anything
 * names them; Maglev's tables are slots, too. */
struct selection {
	__u32 first;
	__u32 count; /* 0: there is no backend */
};

/* Value of weir_services. */
struct service {
	__u32 id; /* of the service's port, whatever the address: affinity and ranges hang on it */
	__u32 frontend;		  /* row of weir_frontends */
	__u32 affinity;		  /* seconds that a client stays with its backend; 0: it does not */
	__u32 flags;		  /* enum service_flag */
	struct selection inside;  /* for those who are in the cluster */
	struct selection outside; /* for everybody else */
};

/* Value of weir_slots: rows of weir_backends. */
struct slots {
	__u32 backends[16]; /* ROW_SLOTS */
};

/* A backend: value of weir_backends, whose index 0 stays empty. A row that is given to another
 * backend, or to none, gets another generation. */
struct backend {
	struct addr addr; /* all zero: the row is free */
	__u16 port;	  /* network byte order */
	__u8 proto;
	__u8 pad;
	__u32 generation;
};

/* What answers of a service come from: value of weir_frontends, whose index 0 stays empty. */
struct frontend {
	struct addr addr; /* all zero: the row is free, or the frontend is every node's */
	__u16 port;	  /* network byte order */
	__u8 proto;
	__u8 pad[5];
};

/* A client of a service with affinity: key of weir_affinity. A socket's client is its network
 * namespace: w[0] and w[1] are the cookie, w[2] and w[3] all ones. */
struct affinity_key {
	struct addr client;
	__u32 service; /* struct service's id */
	__u32 pad;
};

struct affinity {
	__u32 used; /* seconds of CLOCK_MONOTONIC, of the last connection */
	__u32 backend;
	__u32 generation;
	__u32 slot; /* where it was found */
};

/* Key of weir_source_ranges. */
struct source_range {
	__u32 prefix_len; /* 32 + bits of addr that count: an IPv4 /24 is 32 + 96 + 24 */
	__u32 service;	  /* struct service's id */
	struct addr addr;
};

/* A service that a socket talks to, and the backend in whose place it did so. */
struct socket_peer {
	struct addr service, backend;
	__u16 service_port, backend_port; /* network byte order */
	__u32 backend_row;		  /* of weir_backends */
	__u32 generation;		  /* of that row: another one is another backend, or none */
};

/* Key of weir_socket_users: sockets of a network namespace are connected to a backend. */
struct socket_user {
	__u64 netns; /* its cookie */
	__u32 backend_row;
	__u32 generation;
};

/* What an unconnected socket has sent to, the youngest overwriting the oldest. */
struct socket_peers {
	struct socket_peer peers[16]; /* PEERS_MAX */
	__u32 next;
	__u32 pad;
};

/*
 * Input of the program expire, as packet data: connections that the agent found idle, and how many
 * jiffies they may be. One that a packet has used since is left.
 */
struct ct_expire {
	__u32 tcp_new; /* no packet came back, or the handshake is not done */
	__u32 tcp_established;
	__u32 tcp_closing; /* both ends are done, or one has reset */
	__u32 udp_new;	   /* UDP, SCTP and all others: no packet came back */
	__u32 udp_established;
	__u32 icmp;
	__u32 count; /* of keys; output: how many were deleted */
	__u32 now;   /* output: low bits of jiffies */
	struct ct_key keys[CT_EXPIRE_MAX];
};

/* What a datagram's fragments have in common: key of weir_fragments. */
struct fragment_key {
	struct addr src, dst;
	__u32 id;
	__u8 proto; /* of IPv6 44: its fragments may name others (RFC 8200 section 4.5) */
	__u8 pad[3];
};

/* What only the first fragment says: value of weir_fragments. See struct packet. */
struct fragment {
	__u16 sport, dport; /* network byte order */
	__u8 proto;
	__u8 kind;
	__u8 echo;
	__u8 pad;
};

enum policy_flag {
	POLICY_INGRESS = 1, /* isolated: what no rule allows is denied */
	POLICY_EGRESS = 2,
	POLICY_REJECT_INGRESS = 4, /* and the sender is told */
	POLICY_REJECT_EGRESS = 8,
};

/* An endpoint's policy: value of weir_policy, whose index is the endpoint's id; 0 is the host. */
struct policy {
	__u32 policy_class; /* 0: none is in force yet: everything is dropped */
	__u32 epoch; /* another one whenever a verdict of the endpoint may be another; never 0 */
	__u32 flags; /* enum policy_flag */
	__u32 pad;
};

/* Whom the policies of this node tell a peer from: value of weir_policy_sets. */
struct policy_set {
	__u16 count;
	__u16 selectors[30]; /* SET_SELECTORS */
	__u16 next;	     /* another set that goes on, or 0 */
};

/* Which ports a row is about. */
enum policy_level {
	LEVEL_PORT = 0,	 /* proto and port */
	LEVEL_RANGE = 1, /* proto and the number of a range of the class, in place of the port */
	LEVEL_PROTO = 2, /* proto, whatever port: port is 0 */
	LEVEL_ANY = 3,	 /* proto and port are 0 */
	LEVELS = 4,
};

/* Key of weir_policy_rows. */
struct policy_row_key {
	__u32 policy_class;
	__u16 port; /* network byte order: the destination's; of ICMP the type. LEVEL_RANGE: number
		     */
	__u8 proto;
	__u8 level; /* enum policy_level; + LEVELS for ingress */
};

/* Value of weir_policy_rows: bit (selector & 63) is set for each selector that has a rule. */
struct policy_row {
	__u64 selectors;
};

/* Key of weir_policy_rules. */
struct policy_rule_key {
	struct policy_row_key row;
	__u16 selector;
	__u16 pad;
};

enum rule_flag {
	RULE_DENY = 1,
	RULE_REJECT = 2, /* with RULE_DENY: the sender is told */
};

/* Value of weir_policy_rules. */
struct policy_rule {
	__u32 id;    /* its row in weir_policy_counters; never 0 */
	__u32 flags; /* enum rule_flag */
};

/* Key of weir_policy_ranges: the port's leading bits count. Value: the number of the range. */
struct policy_range_key {
	__u32 prefix_len; /* 48 + bits of port */
	__u32 policy_class;
	__u8 direction; /* 0 egress, 1 ingress */
	__u8 proto;
	__u16 port; /* network byte order */
};

/* An address that this node answers for on a device: key of weir_l2. */
struct l2_key {
	struct addr addr;
	__u32 ifindex;
};

/* Value of weir_l2. */
struct l2_entry {
	__u64 responses; /* sent by from_netdev; never written by the agent after its first 0 */
	struct mac mac;	 /* of the device */
	__u16 pad;
};

/* Why an event was sent. */
enum event_kind {
	EVENT_DROP = 1,	  /* a packet was not let through: reason says why */
	EVENT_NEW = 2,	  /* a connection was judged and let through: reason says where to */
	EVENT_GOING = 3,  /* it goes on: its first answer, an end's FIN or RST, another interval */
	EVENT_PACKET = 4, /* one of its packets, where each is told of */
};

/* Why the routing table gives no way: with DROP_FIB; 0: not known. Up to 127 what bpf_fib_lookup
 * returns (BPF_FIB_LKUP_RET_* of linux/bpf.h). */
enum fib_answer {
	FIB_BLACKHOLE = 1,
	FIB_UNREACHABLE = 2,
	FIB_PROHIBITED = 3,
	FIB_NOT_FORWARDED = 4,	/* there is no route, or the address is of this node */
	FIB_FORWARDING_OFF = 5, /* on the device by which the packet came */
	FIB_ENCAPSULATED = 6,	/* the route has a tunnel of its own (lwtunnel) */
	FIB_BACK = 128,		/* the route leads back to the pod that has sent it */
};

/*
 * What became of a packet: what the rings carry. Addresses and ports are those that the packet was
 * judged by: its sender's own and, of a service, the backend's. Ports are in network byte order.
 */
struct event {
	__u64 time; /* nanoseconds of CLOCK_MONOTONIC */
	struct addr src, dst;
	struct addr asked; /* the service's address that the opener asked; all zero: none */
	struct addr taken; /* that took the opener's place beyond this node; all zero: none */
	__u32 src_identity, dst_identity;
	__u32 rule[2];	    /* that allowed or denied, [0] egress, [1] ingress; 0: none */
	__u32 endpoint;	    /* whose policy denied it; 0 is the host, ENDPOINTS_MAX nobody */
	__u32 ifindex;	    /* where the program runs */
	__u32 len;	    /* of the packet, from the Ethernet header on */
	__u32 out;	    /* where to, by reason: row of weir_endpoints or weir_nodes, or 0 */
	__u16 sport, dport; /* of ICMP dport is the type */
	__u16 asked_port, taken_port;
	__u8 family; /* AF_INET, AF_INET6, or 0: not parsed */
	__u8 proto;
	__u8 reason;	/* enum reason */
	__u8 place;	/* enum place */
	__u8 direction; /* of the policy that denied: 0 egress, 1 ingress */
	__u8 tcp_flags;
	__u16 protocol; /* EtherType, network byte order */
	__u8 kind;	/* enum event_kind */
	__u8 reply;	/* 1: of the one who did not open the connection */
	__u8 flags;	/* enum ct_flag, after this packet */
	__u8 fib;	/* DROP_FIB: enum fib_answer */
	__u16 mtu;	/* DROP_FRAG_NEEDED: what fits, from the IP header on; 0: unknown */
	__u8 pad[2];
};

/* An answer of DNS on its way into the pod that asked: what weir_dns carries. */
struct dns_answer {
	__u64 time;			/* nanoseconds of CLOCK_MONOTONIC */
	struct addr src;		/* the server's own */
	struct addr dst;		/* the pod's */
	struct addr asked;		/* that the pod asked: src, or a service's */
	__u16 sport, dport, asked_port; /* network byte order */
	__u16 len;			/* of the answer */
	__u16 copied;			/* of it, in payload: DNS_OCTETS at most */
	__u8 family;			/* AF_INET or AF_INET6 */
	__u8 place;			/* enum place */
	__u32 ifindex;			/* where the program runs */
	__u32 src_identity, dst_identity;
	__u8 payload[512]; /* DNS_OCTETS; what is beyond copied means nothing */
};

/* What a packet walk follows: packets of the connections between two ends, in both directions. */
struct walk_filter {
	struct addr a, b;     /* all zero: whoever */
	__u16 port_a, port_b; /* network byte order; 0: any */
	__u8 proto;	      /* 0: any */
	__u8 used;
	__u8 pad[2];
};

/* Value of weir_walk, a single row. */
struct walk {
	__u64 netns; /* cookie of the namespace whose sockets are followed; 0: none */
	__u32 on;    /* rows in use; 0: nobody follows anything */
	__u32 pad;
	struct walk_filter filter[WALK_FILTERS];
};

/* What a program saw of a packet that is followed, and what it did to it. */
enum step_how {
	STEP_PASSED = 0, /* asked no connection */
	STEP_HIT = 1,	 /* its connection has an entry that holds */
	STEP_JUDGED = 2, /* both ends' policies were asked */
};

/* One program's part in the way of a packet: what weir_steps carries. */
struct step {
	__u64 time;			/* nanoseconds of CLOCK_MONOTONIC, when the program ends */
	struct addr came_src, came_dst; /* as the packet came */
	struct addr src, dst;		/* as it goes on */
	struct addr via;		/* REASON_TO_NETWORK: the next hop */
	__u32 src_identity, dst_identity; /* that were judged, or that weir_ipcache has */
	__u32 rule[2];	   /* that allowed or denied: [0] egress, [1] ingress; 0: none */
	__u32 endpoint;	   /* whose policy denied it; ENDPOINTS_MAX: nobody's */
	__u32 ifindex;	   /* where the program runs */
	__u32 out_ifindex; /* REASON_TO_NETWORK: the device it leaves by */
	__u32 len;	   /* from the Ethernet header on */
	__u32 stamp;	   /* of the connection's entry */
	__u32 backend;	   /* row of weir_backends, or 0 */
	__u32 frontend;	   /* number of the service's address that was asked, or 0 */
	__u16 came_sport, came_dport, sport, dport; /* network byte order */
	__u16 out;				    /* index of the entry's way out */
	__u8 way;				    /* enum ct_out of the entry, or 0 */
	__u8 place;				    /* enum place */
	__u8 reason;				    /* enum reason */
	__u8 family, proto, tcp_flags, ttl;
	__u8 how;    /* enum step_how */
	__u8 reply;  /* 1: of the one who did not open the connection */
	__u8 flags;  /* enum ct_flag of the entry; 0: there is none */
	__u8 source; /* enum nat_source */
	__u8 fib;    /* as in struct event */
	__u16 mtu;   /* as in struct event */
	__u8 pad[4];
};

/* Of which packets that are let through there is an event. Each has those of the one before. */
enum monitor {
	MONITOR_OFF = 0, /* none */
	MONITOR_MAXIMUM =
		1,	    /* the most is left out: new connections, and FIN and RST of each end */
	MONITOR_MEDIUM = 2, /* first answers, once in an interval that a connection goes on, and
			       what is of no connection */
	MONITOR_LOW = 3,    /* each, once: where it is judged */
	MONITOR_NONE = 4,   /* nothing is left out: each, by every program that it meets */
};

/* How much of something there may be in a while, on one CPU: value of weir_event_budget, a single
 * row. */
struct budget {
	__u32 window; /* number of the last one that had any */
	__u32 used;   /* how many in it, those that were refused, too */
};

/* Value of weir_metrics, one for each CPU. */
struct metric {
	__u64 packets; /* on the wire: a GSO packet counts its segments */
	__u64 bytes;   /* from the Ethernet header on */
};

/*
 * Every constant a program may branch on. Set before load, frozen after it, so that the verifier
 * removes what it excludes. One value for all programs of a node.
 */
struct config {
	struct addr router_ipv4; /* of weir_host: the gateway of all pods; all zero: family off */
	struct addr router_ipv6;
	struct addr node_ipv4; /* this node's address on the underlay; all zero: it has none */
	struct addr node_ipv6;
	__u64 build; /* fingerprint of the object files: tells a pinned program's version */
	__u32 tunnel_ifindex; /* 0: native routing, no overlay */
	__u32 host_ifindex;   /* weir_host */
	__u32 tunnel_mtu;     /* largest packet that fits the tunnel, from the IP header on */
	__u16 vlan_bypass[8]; /* ids that pass unjudged; 0 ends the list, VLAN_ALL is all */
	__u8 ipv4;	      /* 1: the family is on */
	__u8 ipv6;
	__u8 host_routing;  /* 1: by bpf_redirect_peer and _neigh; 0: legacy, through the host's
			       stack */
	__u8 underlay_ipv6; /* 1: the tunnel's outer addresses are IPv6 */
	__u8 host_firewall; /* 1: the host is an endpoint, too: number 0 */
	__u8 acceleration;  /* 1: from_xdp is before from_netdev, on devices that can have it */
	__u16 tunnel_port;  /* network byte order; 0: no tunnel */
	__u8 services;	    /* 1: there are services; 0: kube-proxy does what they need */
	__u8 set_retval;    /* 1: the kernel has bpf_set_retval (5.18) */
	__u8 masquerade; /* enum masquerade: of which families pods leave the cluster as this node
			  */
	__u8 l2;	 /* 1: this node answers for the addresses in weir_l2 */
	__u16 nat_first; /* ports of this node for translated connections, host byte order */
	__u16 nat_last;	 /* inclusive */
	__u32 monitor_rate; /* 2^32 / jiffies of the interval; 0: there is none */
	__u64 netns;	    /* cookie of this node's own network namespace */
	/* Ports of the host that no policy closes: direction (1 ingress) << 24 | proto << 16 |
	 * port in host byte order; 0 ends the list. */
	__u32 failsafe[16];
	__u8 monitor; /* enum monitor */
	__u8 dns;     /* 1: answers of DNS to pods are copied */
	__u8 pad3[2];
	__u32 drop_events; /* of drops, in EVENT_WINDOW on each CPU; 0: as many as there is room for
			    */
};

_Static_assert(sizeof(struct addr) == 16, "addr");
_Static_assert(sizeof(struct mac) == 6, "mac");
_Static_assert(sizeof(struct endpoint) == 64, "endpoint: one cache line");
_Static_assert(sizeof(struct ipcache_key) == 20, "ipcache_key");
_Static_assert(sizeof(struct ipcache_entry) == 32, "ipcache_entry");
_Static_assert(sizeof(struct metric) == 16, "metric");
_Static_assert(sizeof(struct config) == 200, "config");
_Static_assert(sizeof(struct node) == 16, "node");
_Static_assert(sizeof(struct ct_key) == 40, "ct_key");
_Static_assert(sizeof(struct ct_entry) == 48, "ct_entry: with key and the kernel's header 136");
_Static_assert(sizeof(struct ct_forward) == sizeof(struct ct_entry), "ct_forward");
_Static_assert(sizeof(struct ct_reverse) == sizeof(struct ct_entry), "ct_reverse");
_Static_assert(sizeof(struct service_key) == 20, "service_key");
_Static_assert(sizeof(struct service) == 32, "service");
_Static_assert(sizeof(struct slots) == 4 * ROW_SLOTS, "slots: one cache line");
_Static_assert(sizeof(struct backend) == 24, "backend");
_Static_assert(sizeof(struct frontend) == 24, "frontend");
_Static_assert(sizeof(struct affinity_key) == 24, "affinity_key");
_Static_assert(sizeof(struct affinity) == 16, "affinity");
_Static_assert(sizeof(struct source_range) == 24, "source_range");
_Static_assert(sizeof(struct socket_peer) == 44, "socket_peer");
_Static_assert(sizeof(struct socket_user) == 16, "socket_user");
_Static_assert(sizeof(struct socket_peers) == 44 * PEERS_MAX + 8, "socket_peers");
_Static_assert(sizeof(struct ct_expire) == 32 + 40 * CT_EXPIRE_MAX, "ct_expire");
_Static_assert(sizeof(struct policy) == 16, "policy");
_Static_assert(sizeof(struct policy_set) == 64, "policy_set: one cache line");
_Static_assert(sizeof(struct policy_row_key) == 8, "policy_row_key");
_Static_assert(sizeof(struct policy_rule_key) == 12, "policy_rule_key");
_Static_assert(sizeof(struct policy_range_key) == 12, "policy_range_key");
_Static_assert(sizeof(struct fragment_key) == 40, "fragment_key");
_Static_assert(sizeof(struct fragment) == 8, "fragment");
_Static_assert(sizeof(struct event) == 128, "event");
_Static_assert(sizeof(struct dns_answer) == 80 + DNS_OCTETS, "dns_answer");
_Static_assert(sizeof(struct l2_key) == 20, "l2_key");
_Static_assert(sizeof(struct l2_entry) == 16, "l2_entry");
