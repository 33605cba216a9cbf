// Package ipcache derives who has which address and how to get there, for the
// whole cluster, and writes it to weir_ipcache, with the numbers of nodes in
// weir_nodes. When an address gets another owner, identity or way, it voids what
// was decided of its connections, by weir_generations.
//
// It reads nodes, pods, their identities and this node's endpoints, and writes the
// table ips, which is also what `weir ip list` prints. A prefix has one owner:
// where two claim it, the stronger source wins (state.IPSource), so an address
// that changed hands never keeps the old identity.
//
// Nothing is deleted from the map before every source is synced.
package ipcache
