package observe

import (
	"slices"
	"strconv"
	"sync"

	"golang.org/x/net/dns/dnsmessage"

	"weir/observe/dns"
)

// answers counts those of DNS, by what Hubble's metrics tell them apart. Pods choose what
// they ask for, so types that nobody uses are one.
type answers struct {
	mu    sync.Mutex
	of    map[answerKind]uint64
	types map[recordKind]uint64
}

type answerKind struct {
	rcode dnsmessage.RCode
	typ   dnsmessage.Type
	ips   int
}

// recordKind is a type of record in answers to questions of a type.
type recordKind struct{ record, question dnsmessage.Type }

func newAnswers() *answers {
	return &answers{of: map[answerKind]uint64{}, types: map[recordKind]uint64{}}
}

// otherType stands for all that have no name.
const otherType dnsmessage.Type = 0

func typeOf(t dnsmessage.Type) dnsmessage.Type {
	if dns.HasName(t) {
		return t
	}
	return otherType
}

func typeLabel(t dnsmessage.Type) string {
	if t == otherType {
		return "other"
	}
	return dns.TypeName(t)
}

func (a *answers) count(x *dns.Answer) {
	asked := typeOf(x.Type)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[answerKind{x.RCode, asked, len(x.IPs)}]++
	for i, t := range x.Types {
		if !slices.Contains(x.Types[:i], t) {
			a.types[recordKind{typeOf(t), asked}]++
		}
	}
}

// counted gives queries, too: one for each answer. How it will be answered, a query does
// not say.
func (a *answers) counted(put func(what string, n uint64, labels ...string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	queries := map[dnsmessage.Type]uint64{}
	for k, n := range a.of {
		queries[k.typ] += n
		put(CountDNS, n, dns.RCodeName(k.rcode), typeLabel(k.typ), strconv.Itoa(k.ips))
	}
	for t, n := range queries {
		put(CountDNSQueries, n, "", typeLabel(t), "0")
	}
	for k, n := range a.types {
		put(CountDNSTypes, n, typeLabel(k.record), typeLabel(k.question))
	}
}
