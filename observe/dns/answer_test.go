package dns

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func header(name string, ttl uint32) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}
}

// says is an answer to a question with those records: an address, or an alias.
func says(t testing.TB, question string, typ dnsmessage.Type, records ...[2]string) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, ID: 7},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(question), Type: typ, Class: dnsmessage.ClassINET}}}
	for i, r := range records {
		h := header(r[0], uint32(300-10*i))
		switch ip, err := netip.ParseAddr(r[1]); {
		case err != nil:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(r[1])}})
		case ip.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: ip.As4()}})
		default:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t testing.TB, payload []byte) *Answer {
	t.Helper()
	a, err := Read(payload)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnswerSaysWhatTheNameHas(t *testing.T) {
	for name, c := range map[string]struct {
		records [][2]string
		ips     string
		aliases string
		ttl     uint32
	}{
		"one address":      {[][2]string{{"Example.ORG.", "192.0.2.1"}}, "192.0.2.1", "", 300},
		"more of them":     {[][2]string{{"example.org.", "192.0.2.1"}, {"EXAMPLE.org.", "192.0.2.2"}}, "192.0.2.1 192.0.2.2", "", 290},
		"an alias":         {[][2]string{{"example.org.", "cdn.example.net."}, {"cdn.example.net.", "192.0.2.1"}}, "192.0.2.1", "cdn.example.net.", 290},
		"back to front":    {[][2]string{{"b.net.", "192.0.2.1"}, {"a.net.", "b.net."}, {"example.org.", "a.net."}}, "192.0.2.1", "a.net. b.net.", 280},
		"in a circle":      {[][2]string{{"example.org.", "a.net."}, {"a.net.", "example.org."}, {"a.net.", "192.0.2.1"}}, "192.0.2.1", "a.net. example.org.", 280},
		"of another name":  {[][2]string{{"bank.org.", "192.0.2.66"}, {"example.org.", "192.0.2.1"}}, "192.0.2.1", "", 290},
		"only another":     {[][2]string{{"bank.org.", "192.0.2.66"}}, "", "", 0},
		"who points to it": {[][2]string{{"bank.org.", "example.org."}, {"example.org.", "192.0.2.1"}}, "192.0.2.1", "", 290},
		"nothing":          {nil, "", "", 0},
	} {
		a := read(t, says(t, "example.org.", dnsmessage.TypeA, c.records...))
		var ips []string
		for _, ip := range a.IPs {
			ips = append(ips, ip.String())
		}
		if strings.Join(ips, " ") != c.ips || strings.Join(a.Aliases, " ") != c.aliases || a.TTL != c.ttl || a.Query != "example.org." || a.Cut {
			t.Errorf("%s: %+v", name, a)
		}
		if len(a.Types) != len(c.records) {
			t.Errorf("%s: types %v", name, a.Types)
		}
	}
	a := read(t, says(t, "example.org.", dnsmessage.TypeAAAA, [2]string{"example.org.", "2001:db8::1"}))
	if !slices.Equal(a.IPs, []netip.Addr{addr("2001:db8::1")}) || TypeName(a.Type) != "AAAA" {
		t.Errorf("IPv6: %+v", a)
	}
}

func TestWhatIsNoAnswerIsRefused(t *testing.T) {
	good := says(t, "example.org.", dnsmessage.TypeA, [2]string{"example.org.", "192.0.2.1"})
	change := func(at int, b byte) []byte {
		out := slices.Clone(good)
		out[at] = b
		return out
	}
	loop := append(change(5, 1)[:12], 0xc0, 12, 0, 1, 0, 1) // a name that is where it points to
	for name, p := range map[string][]byte{"empty": nil, "short": good[:11], "a query": change(2, 0), "another operation": change(2, 0xa8),
		"no question": change(5, 0), "two questions": change(5, 2), "of the class CHAOS": change(28, 3), "a question that is cut": good[:20], "a loop": loop} {
		if a, err := Read(p); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestAnswerThatIsCutIsReadAsFarAsItGoes(t *testing.T) {
	var records [][2]string
	for i := range 20 {
		records = append(records, [2]string{"example.org.", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()})
	}
	whole := says(t, "example.org.", dnsmessage.TypeA, records...)
	last := 0
	for n := 29; n < len(whole); n++ {
		a := read(t, whole[:n])
		if len(a.IPs) < last || !a.Cut {
			t.Fatalf("%d octets: %d addresses, cut %v", n, len(a.IPs), a.Cut)
		}
		last = len(a.IPs)
	}
	if a := read(t, whole); last != 19 || len(a.IPs) != 20 || a.Cut {
		t.Errorf("%d addresses, then %d, cut %v", last, len(a.IPs), a.Cut)
	}
	whole[2] |= 2 // TC
	if !read(t, whole).Cut {
		t.Error("the server says that it is cut")
	}
	for range 1000 {
		records = append(records, [2]string{"example.org.", "192.0.2.99"})
	}
	if a := read(t, says(t, "example.org.", dnsmessage.TypeA, records...)); len(a.IPs) != maxRecords || !a.Cut {
		t.Errorf("of 1020 records %d are looked at, cut %v", len(a.IPs), a.Cut)
	}
}

func TestNamesThatAreNoHostsAreToldAndNotRemembered(t *testing.T) {
	for name, want := range map[string]string{"a\x1b[31m.org.": `a\027[31m.org.`, "ü.org.": `\195\188.org.`, "a b.org.": `a\032b.org.`, "\"\\.org.": `\"\\.org.`, "x;y.org.": "x;y.org."} {
		n := NewNames()
		a := read(t, says(t, name, dnsmessage.TypeA, [2]string{name, "192.0.2.1"}))
		n.Learn(1, a, time.Now())
		if a.Query != want || n.Len() != 0 {
			t.Errorf("%q is told as %s, and %d addresses have it", name, a.Query, n.Len())
		}
	}
}

func TestWordsOfTypesAndResults(t *testing.T) {
	got := []string{TypeName(1), TypeName(65), TypeName(255), TypeName(65280), RCodeName(0), RCodeName(3), RCodeName(15)}
	if want := []string{"A", "HTTPS", "ANY", "TYPE65280", "No Error", "Non-Existent Domain", "Unknown"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Whatever comes off the wire, what is told of it is bounded and can be printed.
func FuzzRead(f *testing.F) {
	f.Add(says(f, "example.org.", dnsmessage.TypeA, [2]string{"example.org.", "a.net."}, [2]string{"a.net.", "192.0.2.1"}))
	f.Add(says(f, "a\x00.org.", dnsmessage.TypeAAAA, [2]string{"a\x00.org.", "2001:db8::1"}))
	f.Add(says(f, "example.org.", dnsmessage.TypeALL, [2]string{"example.org.", "a.net."}, [2]string{"a.net.", "example.org."}))
	f.Add([]byte{0, 1, 0x80, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := Read(payload)
		if err != nil {
			return
		}
		if len(a.IPs) > maxRecords || len(a.Types) > maxRecords || len(a.Aliases) > maxRecords+1 {
			t.Fatalf("%d addresses, %d types, %d aliases", len(a.IPs), len(a.Types), len(a.Aliases))
		}
		for _, name := range append(a.Aliases, a.Query, a.name) {
			if !utf8.ValidString(name) || len(name) > 4*255 || strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
				t.Fatalf("a name: %q", name)
			}
		}
		n := NewNames()
		now := time.Unix(1e9, 0)
		n.Learn(1, a, now)
		for _, ip := range a.IPs {
			if got := n.list(1, ip, now); a.name != "" && !slices.Equal(got, []string{a.name}) {
				t.Fatalf("%s has %v, want %q", ip, got, a.name)
			}
		}
	})
}
