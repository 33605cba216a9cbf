// Package policy derives what the policies of the cluster mean for the
// endpoints of this node, writes it to the weir_policy maps, and answers why.
//
// It reads policies, namespaces, CIDR groups, services, slices, nodes,
// identities and this node's endpoints, and writes the table endpointPolicies:
// who waits for an endpoint's row there finds its policy in the maps; and
// judgedIdentities, the numbers whose sets are in the maps.
//
//	policies ──> specs ──> classes ──> rules, rows, ranges
//	                │          (what endpoints share that the same specs select)
//	identities ──> selectors ──> sets ──> peers, prefixes
//	                (what rules say of the other side, by number)
//
// Rows grow with rules, never with peers. One new identity is one entry of
// weir_policy_peers and perhaps a set; one rule is one entry of
// weir_policy_rules and perhaps a row, for each class.
//
// # Order of writes
//
// Many rows may change in one pass, and a packet may come between any two
// writes. What it is allowed then was allowed before the pass, or is allowed
// after it:
//
//  1. Sets, which nothing names yet.
//  2. The rules, rows and ranges of classes that no endpoint is in yet, and the
//     rows of port ranges that no port leads to yet; rules that deny.
//  3. Rules that allow and go. Peers and prefixes get what denies them by the old
//     or the new rows, and what allows them by both; the ones that no rule in
//     the maps names, or none that is wanted, do not matter. Rows of endpoints
//     that are gone are zeroed. Endpoints that become isolated are.
//  4. Port ranges, each by one write; endpoints move to other classes, each by one
//     write. Before its write a packet meets less than the old rows allow, after
//     it less than the new ones. (A class of which both change gets a number of
//     its own, so that only the move counts.)
//  5. Rules that allow and are new. Peers and prefixes get what is wanted.
//  6. What nothing names any more goes: rules that deny, rows, ranges, sets.
//  7. Endpoints of which a verdict may differ get another epoch, and those that
//     are no longer isolated cease to be.
//
// So that step 3 is possible, no selector is both of rules that allow and of
// rules that deny: a peer of both kinds has two. Prefixes are written longest
// first, since what is missing is judged by the next wider one. Numbers that a
// pass frees are not used again in it. A pass that breaks off is taken up from
// what the maps hold, by the same steps.
//
// # What does not fit
//
// Sizes are known before anything is written. A policy whose version does not fit
// is refused as a whole, the newest first; its version before stays in force.
// Where there is none, whoever the policy selects is isolated by it. What is
// hopeless is refused by counting: see tally.go. An endpoint for whose class there
// is no room is cut off. Both are tried again when there may be room. A peer that
// meets more selectors than a set takes keeps those that deny. A group whose
// addresses do not fit keeps those before.
//
// # What waits
//
// A version that selects by labels which identities do not tell yet waits until
// they do, and until addresses and endpoints have these identities; see gate.go.
package policy
