// Package l2announce answers for addresses of services on the networks that this
// node is in, as far as it is the one who is to: the only writer of weir_l2.
//
//	policies, services, leases, nodes, devices ──> derive ──> list ──> weir_l2
//	                                                            └────> announcements
//
// Who answers for a service says its lease, which the operator gives
// (operator.L2Leases); on which devices, the policies. Programs answer, so that they
// do while no agent runs; this package says to neighbours what is new here, and keeps
// the groups joined in which IPv6 asks.
//
// It forwards nothing: what comes for such an address is control/service's.
package l2announce
