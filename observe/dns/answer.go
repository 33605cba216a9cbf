package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Answer is what a message says of the name that was asked for. It never changes.
type Answer struct {
	Query   string // with the dot at the end; what people cannot read is escaped: \003
	Type    dnsmessage.Type
	RCode   dnsmessage.RCode
	IPs     []netip.Addr // that the name has, by way of its aliases
	TTL     uint32       // the least on the way there, seconds; 0 without an address
	Aliases []string     // of the name, one of the other
	Types   []dnsmessage.Type
	Cut     bool // there was more than was copied, or than is looked at

	name string // for Names; empty: it is nobody's
}

// maxRecords bounds what of an answer is looked at. As many records of type A fit 512
// octets.
const maxRecords = 64

var (
	errQuery    = errors.New("it is no answer")
	errQuestion = errors.New("it does not repeat one question, of the Internet")
)

// record is one of an answer that counts.
type record struct {
	owner string
	alias string     // CNAME: what it is one of
	ip    netip.Addr // A and AAAA
	ttl   uint32
}

// Read reads an answer, of which the end may be missing.
func Read(payload []byte) (*Answer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(payload)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if !h.Response || h.OpCode != 0 {
		return nil, errQuery
	}
	q, err := p.Question()
	if err != nil {
		return nil, fmt.Errorf("question: %w", err)
	}
	if _, err := p.Question(); q.Class != dnsmessage.ClassINET || !errors.Is(err, dnsmessage.ErrSectionDone) {
		return nil, errQuestion
	}
	a := &Answer{Query: readable(q.Name), Type: q.Type, RCode: h.RCode, name: plain(q.Name)}
	a.follow(folded(q.Name), a.records(&p))
	a.Cut = a.Cut || h.Truncated
	return a, nil
}

// String is the answer as Hubble's flows have it.
func (a *Answer) String() string {
	var b strings.Builder
	b.WriteString("DNS Answer ")
	if a.RCode != 0 {
		b.WriteString("RCode: " + RCodeName(a.RCode) + " ")
	}
	for i, ip := range a.IPs {
		b.WriteString([]string{"\"", ","}[min(i, 1)] + ip.String())
	}
	if len(a.IPs) > 0 {
		b.WriteString("\" ")
	}
	if len(a.Aliases) > 0 {
		b.WriteString("CNAMEs: \"" + strings.Join(a.Aliases, ",") + "\" ")
	}
	if len(a.IPs) > 0 {
		fmt.Fprintf(&b, "TTL: %d ", a.TTL)
	}
	fmt.Fprintf(&b, "(Query %s %s)", a.Query, TypeName(a.Type))
	return b.String()
}

// records reads those that are there.
func (a *Answer) records(p *dnsmessage.Parser) []record {
	var out []record
	for range maxRecords {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return out
		}
		if err != nil {
			break
		}
		r := record{owner: folded(h.Name), ttl: h.TTL}
		if err := r.read(p, h); err != nil {
			break
		}
		a.Types = append(a.Types, h.Type)
		if h.Class == dnsmessage.ClassINET && (r.alias != "" || r.ip.IsValid()) {
			out = append(out, r)
		}
	}
	a.Cut = true
	return out
}

func (r *record) read(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) error {
	switch h.Type {
	case dnsmessage.TypeA:
		b, err := p.AResource()
		r.ip = netip.AddrFrom4(b.A)
		return err
	case dnsmessage.TypeAAAA:
		b, err := p.AAAAResource()
		r.ip = netip.AddrFrom16(b.AAAA)
		return err
	case dnsmessage.TypeCNAME:
		b, err := p.CNAMEResource()
		r.alias = folded(b.CNAME)
		return err
	}
	return p.SkipAnswer()
}

// follow takes the addresses of a name and of what it is an alias of, in whatever order
// the records come: what they say of other names is theirs to say. Each alias is followed
// once.
func (a *Answer) follow(name string, records []record) {
	least := ^uint32(0)
	known := map[string]bool{}
	for name != "" && !known[name] {
		known[name] = true
		next := ""
		for _, r := range records {
			switch {
			case r.owner != name:
			case r.ip.IsValid():
				a.IPs = append(a.IPs, r.ip)
				least = min(least, r.ttl)
			case next == "":
				next = r.alias
				least = min(least, r.ttl)
			}
		}
		if name = next; name != "" {
			a.Aliases = append(a.Aliases, escaped(name))
		}
	}
	if len(a.IPs) > 0 {
		a.TTL = least
	}
}

// folded is a name as it is compared: RFC 4343.
func folded(n dnsmessage.Name) string {
	b := n.Data[:n.Length]
	out := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return string(out)
}

func readable(n dnsmessage.Name) string { return escaped(string(n.Data[:n.Length])) }

// escaped is a name as people may read it: RFC 1035, section 5.1.
func escaped(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' || r == '"' }) < 0 {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c == '\\' || c == '"':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c <= ' ' || c >= 0x7f:
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// plain is a name of a host, folded and without the dot at the end; empty: it is none.
func plain(n dnsmessage.Name) string {
	name := strings.TrimSuffix(folded(n), ".")
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return ""
		}
	}
	return name
}

// TypeName is as zones have it: AAAA, or TYPE65280 (RFC 3597).
func TypeName(t dnsmessage.Type) string {
	if name, ok := strings.CutPrefix(t.String(), "Type"); ok {
		if t == dnsmessage.TypeALL {
			return "ANY"
		}
		return name
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}

// HasName reports whether a type is one that people use.
func HasName(t dnsmessage.Type) bool { return strings.HasPrefix(t.String(), "Type") }

// rcodes are the words that Hubble's metrics have (IANA's, RFC 6895).
var rcodes = map[dnsmessage.RCode]string{0: "No Error", 1: "Format Error", 2: "Server Failure", 3: "Non-Existent Domain", 4: "Not Implemented",
	5: "Query Refused", 6: "Name Exists when it should not", 7: "RR Set Exists when it should not", 8: "RR Set that should exist does not",
	9: "Server Not Authoritative for zone", 10: "Name not contained in zone"}

// RCodeName says how a question was answered.
func RCodeName(c dnsmessage.RCode) string {
	if name, ok := rcodes[c]; ok {
		return name
	}
	return "Unknown"
}
