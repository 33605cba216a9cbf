// Package preflight looks at a host before Weir comes to it: whether the kernel can do
// what is needed, and what others have left there that would be in the way. It changes
// nothing, and asks no agent.
//
// gather reads the host into Facts; judge, which is pure, turns them into checks.
package preflight
