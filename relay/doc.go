// Package relay serves the flows of a cluster: it asks one agent where all are, follows
// that, and answers Observer by asking each of them and merging what they tell by time.
//
//	Peer.Notify ─> peers ─> one connection each ─┐
//	                                             ├─> merge by time ─> one stream for each client
//	            GetFlows of every node that is there ┘
//
// A node that is away is said, and waited for; nobody else's flows wait for it. The relay
// keeps no flows: a client that is slow makes the nodes' streams slow, and each node tells
// how much it had to leave out.
package relay
