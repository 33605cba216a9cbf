// Package observe tells what became of packets: it joins the events of the programs with
// whom and what the tables name at that moment, keeps the latest, and serves them as flows.
//
//	events ─> Add: who, which service, which policies ─> ring of records ─> readers
//	            ▲                                                             │ filters
//	     tables ┘                                                 gRPC <─ flow.Flow
//
// A record is the event with pointers to rows that never change, so that keeping one costs
// little; it becomes a flow.Flow only for a reader whose filters it has passed. Readers
// have no queues: each is a place in the ring. Whoever is too slow is overtaken, and told
// how much it has missed. Nobody holds Add up.
//
// The package changes nothing, on this node or elsewhere, and knows neither control nor
// datapath: what it asks of policy is an interface.
package observe
