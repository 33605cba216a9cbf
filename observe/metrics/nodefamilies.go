package metrics

import "slices"

// What a node tells. Labels have the values that the field knows.
var (
	version    = Gauge("cilium_version", "Always 1: the labels say which build this is.", "version", "revision")
	unreadable = Gauge("weir_metrics_unreadable", "Whether a part of the datapath could not be read at this scrape.", "part")

	dropCount    = Counter("cilium_drop_count_total", "Packets that were not let through, since the map of counters was made. The direction is that of the program that dropped: EGRESS of what pods and the node send.", "reason", "direction")
	dropBytes    = Counter("cilium_drop_bytes_total", "Bytes of these packets.", "reason", "direction")
	forwardCount = Counter("cilium_forward_count_total", "Packets that were judged and let on.", "direction")
	forwardBytes = Counter("cilium_forward_bytes_total", "Bytes of these packets.", "direction")
	tooBig       = Counter("cilium_mtu_error_message_total", "Packets whose sender was told which size fits.", "direction")
	packetCount  = Counter("weir_datapath_packets_total", "Packets by program and by what became of them there; a packet meets several programs.", "program", "reason")
	packetBytes  = Counter("weir_datapath_bytes_total", "Bytes of these packets.", "program", "reason")
	eventsLost   = Counter("weir_events_lost_total", "Events that found no room, by ring: events are drops and new connections, traces all others, dns copies of answers. Their packets are counted.", "lane")

	mapPressure = Gauge("cilium_bpf_map_pressure", "Which part of a map's entries is in use, 0 to 1; of maps that grow, of their limit.", "map_name")
	mapEntries  = Gauge("weir_bpf_map_entries", "Entries in use.", "map_name")
	mapCapacity = Gauge("cilium_bpf_map_capacity", "Entries that a map has room for.", "map_group")
	mapBytes    = Gauge("weir_bpf_map_memory_bytes", "What a map takes, as the kernel counts it.", "map_name")
	mapOps      = Counter("cilium_bpf_map_ops_total", "Entries that the agent wrote or deleted, since it started.", "map_name", "operation", "outcome")
	mapsBytes   = Gauge("cilium_bpf_maps_virtual_memory_max_bytes", "What all maps take.")
	progsBytes  = Gauge("cilium_bpf_progs_virtual_memory_max_bytes", "What all programs take.")
	verified    = Gauge("weir_bpf_program_verified_instructions", "Instructions that the verifier walked; 0 where the kernel does not tell.", "program")
	programRuns = Counter("weir_bpf_program_runs_total", "How often a program ran; only while kernel.bpf_stats_enabled is on.", "program")
	programTime = Counter("weir_bpf_program_run_seconds_total", "How long a program ran; only while kernel.bpf_stats_enabled is on.", "program")
	attachments = Gauge("weir_bpf_program_attachments", "Places at which a program should be; state is attached or missing.", "program", "state")
	searches    = Counter("weir_nat_port_searches_total", "Connections that needed a port of the node, by how many tries failed before one was found.", "failed_tries")

	ctEntries  = Gauge("weir_conntrack_entries", "Connections, as of the last sweep.")
	ctCapacity = Gauge("weir_conntrack_capacity", "Connections that the table has room for as it is.")
	ctLimit    = Gauge("weir_conntrack_limit", "Connections up to which the table grows.")
	gcRuns     = Counter("cilium_datapath_conntrack_gc_runs_total", "Sweeps of the table of connections, which is one for both families and all protocols.", "family", "protocol", "status")
	gcEntries  = Gauge("cilium_datapath_conntrack_gc_entries", "Connections that sweeps found alive at last, and have deleted in all.", "family", "protocol", "status")
	gcDuration = Counter("cilium_datapath_conntrack_gc_duration_seconds", "How long sweeps took.", "family", "protocol", "status")

	endpoint      = Gauge("cilium_endpoint", "Endpoints of the node: pods, and the health endpoint.")
	endpointCount = Gauge("cilium_endpoint_count", "The same, by the name of old dashboards.")
	endpointState = Gauge("cilium_endpoint_state", "Endpoints by state.", "endpoint_state")

	policy         = Gauge("cilium_policy", "Policies in force.")
	policyCount    = Gauge("cilium_policy_count", "The same, by the name of old dashboards.")
	policyStates   = Gauge("weir_policies", "Policies by state, as weir policy list has them.", "state")
	enforcement    = Gauge("cilium_policy_endpoint_enforcement_status", "Endpoints by the directions in which policy isolates them.", "enforcement")
	identities     = Gauge("cilium_identity", "Identities by kind.", "type")
	identityLabels = Gauge("cilium_identity_label_sources", "Identities that have a label of the source.", "source")

	poolCapacity   = Gauge("cilium_ipam_capacity", "Addresses that pods can get.", "family", "cidr")
	ipAddresses    = Gauge("cilium_ip_addresses", "Addresses of the node's pod CIDRs that are in use: by pods, the router and the health endpoint.", "family")
	services       = Gauge("weir_services", "Services, addresses at which they are, and backends, that are in force; problems are what is not.", "what")
	loopsFailing   = Gauge("cilium_controllers_failing", "Reconcile loops whose last run failed.")
	loopRuns       = Counter("cilium_controllers_runs_total", "Runs of reconcile loops.", "status")
	loopGroupRuns  = Counter("cilium_controllers_group_runs_total", "Runs of each reconcile loop.", "group_name", "status")
	problems       = Gauge("weir_objects_refused", "Objects of the cluster that were refused; their last good version is in force.")
	nodesKnown     = Gauge("cilium_nodes_all_num", "Nodes of the cluster, this one included.")
	unreachable    = Gauge("cilium_unreachable_nodes", "Nodes that did not answer the last probe.")
	unreachableEPs = Gauge("cilium_unreachable_health_endpoints", "Health endpoints that did not answer the last probe.")
	connectivity   = Gauge("cilium_node_health_connectivity_status", "Nodes by whether they, or their health endpoints, answered the last probe.", "type", "status")
	latency        = Gauge("cilium_node_health_connectivity_latency_seconds", "How long the last probes took.", "type", "address_type", "protocol")

	heardReceived = Counter("cilium_kubernetes_events_received_total", "Objects that the API server told, by whether they were valid, and said nothing new.", "scope", "action", "valid", "equal")
	serviceEvents = Counter("cilium_services_events_total", "Services that the API server told to be new, other, or gone.", "action")
	nodeEvents    = Counter("cilium_nodes_all_events_received_total", "Nodes that the API server told to be new, other, or gone.", "event_type", "source")
	policyChanges = Counter("cilium_policy_change_total", "Policies that the API server told to be new, other, or gone, by whether they could be used.", "source", "operation", "outcome")
	heardDone     = Counter("cilium_kubernetes_events_total", "Objects that the API server told and that changed something, by whether they could be used.", "scope", "action", "status")
)

var nodeFamilies = slices.Concat(
	[]*Family{version, unreadable, dropCount, dropBytes, forwardCount, forwardBytes, tooBig, packetCount, packetBytes, eventsLost},
	[]*Family{mapPressure, mapEntries, mapCapacity, mapBytes, mapOps, mapsBytes, progsBytes, verified, programRuns, programTime, attachments, searches},
	[]*Family{ctEntries, ctCapacity, ctLimit, gcRuns, gcEntries, gcDuration, endpoint, endpointCount, endpointState},
	[]*Family{policy, policyCount, policyStates, enforcement, identities, identityLabels, poolCapacity, ipAddresses, services},
	[]*Family{loopsFailing, loopRuns, loopGroupRuns, problems, nodesKnown, unreachable, unreachableEPs, connectivity, latency, heardReceived, heardDone, serviceEvents, nodeEvents, policyChanges},
)
