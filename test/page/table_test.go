package page

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// pods of the cluster that a test looks for.
const (
	frontend = "shop/frontend-6d8f7c9b54-x2vqp"
	catalog  = "shop/catalog-7f6b5d4c88-m4ktz"
	postgres = "data/postgres-0"
)

var (
	asks   = talk{From: "shop/frontend", To: "shop/catalog", Port: 80, Service: true}
	asks6  = talk{From: "world", To: "shop/frontend", Port: 8080, IPv6: true}
	denied = talk{From: "shop/frontend", To: "data/postgres", Port: 5432, Outcome: "denied", IPv6: true}
	pings  = talk{From: "shop/catalog", To: "data/postgres", Proto: "ICMP", IPv6: true}
)

func TestFlowsAppearAsTheyCome(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	if got := b.text("#empty"); !strings.Contains(got, "No flows yet") {
		t.Errorf("of an empty table: %q", got)
	}
	for i, step := range []struct {
		talk talk
		want []string
	}{
		{asks, []string{frontend, catalog, "80/TCP", "Forwarded"}},
		{asks6, []string{"world 2001:db8::7", frontend, "8080/TCP", "Forwarded"}},
		{pings, []string{catalog, postgres, "ICMPv6", "Forwarded"}},
		{talk{From: "shop/catalog", To: "kube-system/coredns", Port: 53, Proto: "UDP"}, []string{catalog, "kube-system/coredns-7c65d6cfc9-5wz2d", "53/UDP", "Forwarded", "To overlay"}},
		{talk{From: "shop/frontend", To: "data/redis", Port: 80, Outcome: "no-backend"}, []string{frontend, "data/redis", "80/TCP", "Dropped", "Service backend not found"}},
	} {
		s.send(step.talk, 1)
		b.awaitRows(i + 1)
		got := b.rows()[0]
		if _, err := time.Parse("15:04:05.000", got[0]); err != nil {
			t.Errorf("time: %v", err)
		}
		if !slices.Equal(got[1:][:len(step.want)], step.want) {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
	s.send(denied, 1) // as a drop, and as a policy's verdict
	b.awaitRows(7)
	if got := b.rows(); got[0][4] != "Dropped" || got[0][5] != "Policy denied by denylist" || got[1][5] != "Policy verdict: Policy denied by denylist" {
		t.Errorf("a drop by policy: %q", got[:2])
	}
	if got := b.text("#counts"); got != "7 flows" {
		t.Errorf("counts: %q", got)
	}
	s.order(order{Do: "lost", Count: 5})
	b.await("what is missing is said", `document.querySelector("tr.gap")?.innerText.startsWith("5 flows of east/n1 are missing here") && document.querySelector("#counts").innerText.includes("5 lost")`)
}

// Who is outside has the name that the pod asked DNS for; the answer is a row of its own,
// and no edge of the map.
func TestWhoIsOutsideHasItsName(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	for i, ipv6 := range []bool{false, true} {
		s.send(talk{From: "payments/gateway", To: "world", Port: 443, Name: "api.bank.example", IPv6: ipv6}, 1)
		b.awaitRows(2 + 2*i)
		got := b.rows()
		if !strings.HasPrefix(got[0][2], "api.bank.example ") || got[0][5] != "To network" {
			t.Errorf("of a connection to it: %q", got[0])
		}
		if !strings.HasPrefix(got[1][5], "DNS Answer ") || !strings.Contains(got[1][5], "(Query api.bank.example. A") {
			t.Errorf("of the answer: %q", got[1])
		}
	}
	b.click("#rows tr")
	b.await("the panel has it", `[...document.querySelectorAll("#panel dd")].some((d) => d.innerText === "api.bank.example")`)
	b.awaitOneLine("payments/gateway to world (asked)")
}

func TestFiltersAskTheRelay(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.send(asks, 2)
	s.send(asks6, 3)
	s.send(talk{From: "payments/gateway", To: "payments/ledger", Port: 80}, 4)
	s.send(denied, 1)
	b.awaitRows(11)

	b.click("input[value=dropped]")
	b.awaitRows(2)
	s.send(asks, 1) // is not for this filter
	s.send(denied, 1)
	b.awaitRows(4)
	b.click("input[value=forwarded]")
	b.awaitRows(10)
	b.click("#text")
	b.press("g", "a", "t", "e")
	b.awaitRows(4)
	if got := value[string](b, "location.hash"); got != "#text=gate&verdict=forwarded" {
		t.Errorf("the address keeps %q", got)
	}
	b.do(chromedp.Reload())
	b.awaitRows(4)
	if got := value[string](b, `document.querySelector("#text").value`); got != "gate" {
		t.Errorf("after it is loaded again, find has %q", got)
	}
	b.click("#clear")
	b.awaitRows(14)

	b.await("namespaces are offered", `[...document.querySelector("#namespace").options].map((o) => o.value).join() === ",data,payments,shop"`)
	b.do(chromedp.Focus(chromedp.CSS("#namespace")))
	b.press("p", "a") // a list goes to what is typed
	b.awaitRows(4)
	b.click("#clear")
	b.awaitRows(14)

	b.await("a workload is on the map", `document.querySelector(".node[title^='payments/ledger']")`)
	b.click(".node[title^='payments/ledger']")
	b.awaitRows(4)
	b.await("it is marked", `document.querySelector(".node[title^='payments/ledger']")?.getAttribute("aria-pressed") === "true"`)
	b.click(".node[title^='payments/ledger']")
	b.awaitRows(14)

	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "#text=nobody-is-called-so"`))
	b.awaitRows(0)
	b.await("an empty table says why", `document.querySelector("#empty").innerText.startsWith("No flow matches")`)
}

// A filter that the relay refuses gets its words, and the next one works.
func TestARefusedFilterIsExplained(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	b.expectOffline(true) // a browser logs each answer of 400
	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "#namespace=a/b"`))
	b.await("the relay's words", `document.querySelector("#problem").innerText.includes('namespace: "a/b": write a name without a slash')`)
	b.await("the table says so, too", `document.querySelector("#empty").innerText.startsWith("Not what the relay takes")`)
	b.expectOffline(false)
	b.click("#clear")
	b.await("it is live", `document.querySelector("#state").innerText === "Live" && document.querySelector("#problem").hidden`)
}

func TestPauseHoldsWhatIsDrawn(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.send(asks, 2)
	b.awaitRows(2)
	b.click("#pause")
	s.send(asks, 7)
	b.await("it says how many wait", `document.querySelector("#fresh").innerText === "↑ 7 new" && document.querySelector("#state").innerText === "Paused"`)
	b.awaitRows(2)
	b.click("#pause")
	b.awaitRows(9)
	b.press("p")
	s.send(asks, 1)
	b.await("and again", `document.querySelector("#fresh").innerText === "↑ 1 new"`)
	b.click("#fresh")
	b.awaitRows(10)
	b.await("it goes on", `document.querySelector("#state").innerText === "Live"`)
	b.press("p")
	b.click("input[value=dropped]") // who asks for something else wants to see it
	b.await("a filter resumes", `document.querySelector("#state").innerText === "Live"`)
}

// Rows do not move while somebody reads them.
func TestTheTableStandsStillWhileItIsRead(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.send(asks, 60)
	b.awaitRows(60)
	for _, read := range []struct {
		how         string
		begin, stop func()
	}{
		{"scrolled down", func() { b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#list").scrollTop = 300`)) }, func() { b.click("#fresh") }},
		{"a row has the focus", func() { b.click("#rows tr:nth-child(3)"); b.press("\x1b") }, func() { b.press("\x1b") }},
	} {
		before := len(b.rows())
		read.begin()
		s.send(asks, 5)
		b.await(read.how+": flows wait", `document.querySelector("#fresh").innerText === "↑ 5 new"`)
		if n := len(b.rows()); n != before {
			t.Errorf("%s: %d rows became %d", read.how, before, n)
		}
		read.stop()
		b.awaitRows(before + 5)
	}
	b.leave()
	s.send(asks, 1)
	b.awaitRows(71)
}

// Many flows at once: the page keeps the latest, says what is missing, and answers.
func TestAFlood(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	const many = 60000
	b.do(chromedp.Evaluate[chromedp.Void](`window.slowest = 0; { let last = performance.now(); const look = (now) => { slowest = Math.max(slowest, now - last); last = now; requestAnimationFrame(look); }; requestAnimationFrame(look); }`))
	s.order(order{Do: "flood", Count: many})
	b.await("all have come, or are told to be lost", fmt.Sprintf(`(() => { const n = document.querySelector("#counts").innerText.replaceAll(",", "").match(/^(\d+) flows(?: · (\d+) lost)?/); return Number(n[1]) + Number(n[2] ?? 0) === %d })()`, many))
	b.await("the table is full", `document.querySelectorAll("#rows tr").length === 500`)
	b.await("the map is full", `document.querySelectorAll(".node").length === 120 && document.querySelector("#counts").innerText.includes("beyond the map")`)
	slowest := value[float64](b, "slowest")
	t.Logf("the longest time without a frame: %.0f ms; %s", slowest, b.text("#counts"))
	if slowest > 3000 {
		t.Errorf("the page stood still for %.0f ms", slowest)
	}
	s.send(denied, 1)
	b.await("and goes on", `document.querySelector("#rows tr.dropped")`)
}
