// Package sysdump is `weir sysdump`: one archive of what somebody needs who helps
// from afar.
//
// Only what is named leaves the node: types and fields of the agent's socket,
// columns of tables, keys of what the kernel's tools print, attributes of log
// messages. What comes later stays here until somebody names it. Nothing reads
// Secrets, tokens, annotations or environments. What could not be had is said,
// and everything is bounded in size and time.
package sysdump
