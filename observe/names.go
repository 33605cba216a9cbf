package observe

import (
	"net/netip"

	"weir/api/flow"
	"weir/bpf"
	"weir/internal/table"
	"weir/state"
)

// IP protocols (IANA).
const (
	protoTCP    = 6
	protoUDP    = 17
	protoSCTP   = 132
	protoICMP   = 1
	protoICMPv6 = 58
)

// party is who has an address, as of one moment. It never changes.
type party struct {
	identity uint32
	endpoint uint32 // of this node; 0: it is not
	device   string // of that endpoint
	pod      state.PodName
	labels   []string
	workload state.Workload
	told     *flow.Endpoint // the same
}

// names knows whom addresses and identities belong to. It belongs to Add: tables that have
// changed are read before the next event is, so that no event is older than its names.
type names struct {
	cluster string
	tables  *state.Tables
	wake    chan struct{}
	gone    func(endpoint uint32) // is called when an endpoint's address is another's, or nobody's

	since       struct{ ips, pods, identities, services uint64 }
	byAddr      map[bpf.Addr]*party // pods, and endpoints of this node
	byIdentity  map[uint32]*party   // everybody else
	strangers   map[uint32]*party   // whose identity no table has
	byEndpoint  map[uint32]*party   // of this node
	addrsOf     map[state.PodName][]bpf.Addr
	unlabelled  map[uint32]map[bpf.Addr]bool // whose identity is not in its table yet, by that
	rows        map[bpf.Addr]state.IP
	frontends   map[frontend]*flow.Service
	frontendsOf map[state.ServiceName][]frontend
}

// frontend is where a service is asked. Of a NodePort addr is all zero.
type frontend struct {
	addr  bpf.Addr
	port  uint16 // host byte order
	proto uint8
}

func newNames(cluster string, tables *state.Tables) names {
	n := names{cluster: cluster, tables: tables, wake: make(chan struct{}, 1), byAddr: map[bpf.Addr]*party{}, byIdentity: map[uint32]*party{}, strangers: map[uint32]*party{},
		byEndpoint: map[uint32]*party{}, addrsOf: map[state.PodName][]bpf.Addr{}, unlabelled: map[uint32]map[bpf.Addr]bool{}, rows: map[bpf.Addr]state.IP{},
		frontends: map[frontend]*flow.Service{}, frontendsOf: map[state.ServiceName][]frontend{}}
	tables.IPs.Notify(n.wake)
	tables.Pods.Notify(n.wake)
	tables.Identities.Notify(n.wake)
	tables.Services.Notify(n.wake)
	n.wake <- struct{}{}
	return n
}

// refresh reads what has changed. Without a change it costs a look into a channel.
func (n *names) refresh() {
	select {
	case <-n.wake:
	default:
		return
	}
	follow(n.tables.Identities, &n.since.identities, func() { clear(n.byIdentity) }, n.identity)
	follow(n.tables.IPs, &n.since.ips, n.forgetAddrs, n.addr)
	follow(n.tables.Pods, &n.since.pods, func() {}, n.pod)
	follow(n.tables.Services, &n.since.services, func() { clear(n.frontends); clear(n.frontendsOf) }, n.service)
}

// follow gives the changes of a table since a revision; forget comes first when they are
// all there is.
func follow[K comparable, R table.Row](t *table.Table[K, R], since *uint64, forget func(), see func(table.Change[K, R])) {
	changes, now, whole := t.Changes(*since)
	if whole {
		forget()
	}
	for _, c := range changes {
		see(c)
	}
	*since = now
}

func (n *names) forgetAddrs() {
	clear(n.byAddr)
	clear(n.byEndpoint)
	clear(n.addrsOf)
	clear(n.unlabelled)
	clear(n.rows)
}

func (n *names) identity(c table.Change[state.IdentityID, state.Identity]) {
	if c.Deleted {
		return // events that name it may still come
	}
	id := uint32(c.Key)
	n.byIdentity[id] = told(n.cluster, party{identity: id, labels: c.Row.Labels})
	late := n.unlabelled[id]
	delete(n.unlabelled, id)
	for a := range late {
		n.set(a, n.rows[a])
	}
}

func (n *names) addr(c table.Change[state.IPKey, state.IP]) {
	if !c.Key.IsSingleIP() {
		return
	}
	a := bpf.AddrFrom(c.Key.Addr())
	if old, ok := n.rows[a]; ok {
		n.drop(a, old)
		if old.Endpoint != 0 && (c.Deleted || old.Endpoint != c.Row.Endpoint || old.Of != c.Row.Of) {
			n.gone(uint32(old.Endpoint))
		}
	}
	if !c.Deleted && (c.Row.Endpoint != 0 || c.Row.Source == state.IPPod) {
		n.rows[a] = c.Row
		pod, _ := podName(c.Row)
		n.addrsOf[pod] = append(n.addrsOf[pod], a)
		n.set(a, c.Row)
	}
}

func (n *names) drop(a bpf.Addr, row state.IP) {
	if n.byEndpoint[uint32(row.Endpoint)] == n.byAddr[a] { // else the number has a new owner, or another address
		delete(n.byEndpoint, uint32(row.Endpoint))
	}
	delete(n.rows, a)
	delete(n.byAddr, a)
	n.labelled(a, row)
	pod, _ := podName(row)
	var rest []bpf.Addr
	for _, x := range n.addrsOf[pod] {
		if x != a {
			rest = append(rest, x)
		}
	}
	if n.addrsOf[pod] = rest; rest == nil {
		delete(n.addrsOf, pod)
	}
}

// labelled notes that an address waits no longer for what its identity says.
func (n *names) labelled(a bpf.Addr, row state.IP) {
	id := uint32(row.Identity)
	if delete(n.unlabelled[id], a); len(n.unlabelled[id]) == 0 {
		delete(n.unlabelled, id)
	}
}

// pod takes what a pod's object says to its addresses.
func (n *names) pod(c table.Change[state.PodName, state.Pod]) {
	for _, a := range n.addrsOf[c.Key] {
		n.set(a, n.rows[a])
	}
}

// set makes the party of an address.
func (n *names) set(a bpf.Addr, row state.IP) {
	p := party{identity: uint32(row.Identity), endpoint: uint32(row.Endpoint)}
	if e, ok := n.tables.Endpoints.Get(row.Endpoint); ok && row.Endpoint != 0 {
		p.device = e.Device
	}
	if name, ok := podName(row); ok {
		p.pod = name
		if pod, ok := n.tables.Pods.Get(name); ok && (pod.UID == row.UID || pod.UID == "" || row.UID == "") {
			p.labels, p.workload = state.PodLabels(pod, n.cluster), pod.Workload
		}
	}
	if i, ok := n.tables.Identities.Get(row.Identity); ok && p.labels == nil {
		p.labels = i.Labels
	} else if !ok && p.labels == nil {
		n.await(a, p.identity)
	}
	made := told(n.cluster, p)
	n.byAddr[a] = made
	if p.endpoint != 0 {
		n.byEndpoint[p.endpoint] = made
	}
}

// await notes that an address waits for what its identity says.
func (n *names) await(a bpf.Addr, identity uint32) {
	if n.unlabelled[identity] == nil {
		n.unlabelled[identity] = map[bpf.Addr]bool{}
	}
	n.unlabelled[identity][a] = true
}

// podName is that of a row that belongs to a pod.
func podName(row state.IP) (state.PodName, bool) {
	for i := range row.Of {
		if row.Of[i] == '/' {
			return state.PodName{Namespace: row.Of[:i], Name: row.Of[i+1:]}, true
		}
	}
	return state.PodName{}, false
}

// told adds how a party is told.
func told(cluster string, p party) *party {
	p.told = &flow.Endpoint{ID: p.endpoint, Identity: p.identity, Namespace: p.pod.Namespace, PodName: p.pod.Name, Labels: p.labels}
	if p.pod.Name != "" {
		p.told.ClusterName = cluster
	}
	if p.workload.Name != "" {
		p.told.Workloads = []*flow.Workload{{Name: p.workload.Name, Kind: p.workload.Kind}}
	}
	return &p
}

func (n *names) service(c table.Change[state.ServiceName, state.Service]) {
	for _, f := range n.frontendsOf[c.Key] {
		if s := n.frontends[f]; s.GetName() == c.Key.Name && s.GetNamespace() == c.Key.Namespace { // else it has a new owner
			delete(n.frontends, f)
		}
	}
	delete(n.frontendsOf, c.Key)
	if c.Deleted {
		return
	}
	told := &flow.Service{Name: c.Key.Name, Namespace: c.Key.Namespace}
	for _, f := range frontendsOf(c.Row) {
		n.frontends[f] = told
		n.frontendsOf[c.Key] = append(n.frontendsOf[c.Key], f)
	}
}

func frontendsOf(s state.Service) []frontend {
	var out []frontend
	for _, p := range s.Ports {
		for _, list := range [][]netip.Addr{s.ClusterIPs, s.ExternalIPs, s.LoadBalancerIPs} {
			for _, a := range list {
				out = append(out, frontend{bpf.AddrFrom(a), p.Port, p.Proto})
			}
		}
		if p.NodePort != 0 {
			out = append(out, frontend{port: p.NodePort, proto: p.Proto})
		}
	}
	return out
}

// join names the ends of a record, and the service that was asked.
func (n *names) join(r *record) {
	e := &r.event
	if e.Family == 0 {
		return
	}
	r.ends = [2]*party{n.party(e.Src, e.SrcIdentity), n.party(e.Dst, e.DstIdentity)}
	if bpf.Reason(e.Reason) == bpf.DropInvalidSourceIP && bpf.Place(e.Place) == bpf.PlaceFromPod {
		r.ends[sender] = n.byEndpoint[e.Ifindex-uint32(bpf.IfindexBase)] // who sent it, not whose address it took
	}
	if e.Asked != (bpf.Addr{}) {
		r.service = n.asked(e.Asked, bpf.Host(e.AskedPort), e.Proto)
	} else if e.Reply == 0 {
		r.service = n.frontends[frontend{e.Dst, bpf.Host(e.Dport), e.Proto}] // before it was translated
	}
}

// asked is the service behind an address that is known to be one's.
func (n *names) asked(a bpf.Addr, port uint16, proto uint8) *flow.Service {
	if s := n.frontends[frontend{a, port, proto}]; s != nil {
		return s
	}
	return n.frontends[frontend{port: port, proto: proto}]
}

// party is who has an address, or else whoever has the identity.
func (n *names) party(a bpf.Addr, identity uint32) *party {
	if p := n.byAddr[a]; p != nil {
		return p
	}
	if p := n.byIdentity[identity]; p != nil {
		return p
	}
	p := n.strangers[identity]
	if p == nil {
		if len(n.strangers) >= maxStrangers {
			clear(n.strangers)
		}
		p = told(n.cluster, party{identity: identity})
		n.strangers[identity] = p
	}
	return p
}

// maxStrangers bounds what is remembered of identities that no table has: whoever reaches
// the tunnel's port can name any.
const maxStrangers = 4096
