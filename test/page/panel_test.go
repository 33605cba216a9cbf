package page

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// says fails unless the panel has all texts.
func (b *browser) says(texts ...string) {
	b.t.Helper()
	got := regexp.MustCompile(`\n+`).ReplaceAllString(b.text("#panel"), "\n")
	for _, want := range texts {
		if !strings.Contains(got, want) {
			b.t.Errorf("the panel lacks %q:\n%s", want, got)
		}
	}
}

func TestADropIsExplained(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	open := func(what talk, title string) {
		t.Helper()
		b.leave()
		b.press(kb.Escape, kb.Escape) // close, and back to the newest
		row := fmt.Sprintf(`[...document.querySelectorAll("#rows tr.dropped")].find((r) => r.cells[5].innerText === %q)`, title)
		s.send(what, 1)
		b.await("it is in the table", row)
		b.clickOn(row)
		b.says(title)
	}
	open(denied, "Policy denied by denylist")
	b.says("What it means\nA deny rule matches", "What to do\nweir drops names the policy", "Denied on the way in by\nCiliumNetworkPolicy\ndata/only-applications",
		"Node east/n2, device weir", "on the way in to the destination", "weir why "+frontend+" "+postgres+":5432", "Deployment frontend", "k8s:app=postgres", "fd00::")
	open(talk{From: "monitoring/prometheus", To: "payments/ledger", Port: 9100, Outcome: "isolated"}, "Policy denied")
	b.says("Isolated on the way in by\nNetworkPolicy\npayments/default-deny", "no rule allows the connection")
	open(talk{From: "shop/catalog", To: "world", Port: 25, Outcome: "unroutable", IPv6: true}, "Stale or unroutable IP")
	b.says("on the way out of the source", "weir why "+catalog+" '[2001:db8::7]:25'")
	if strings.Contains(b.text("#panel"), "`") {
		t.Error("the panel shows backticks")
	}
	b.click(".copy")
	b.await("the command is copied", `document.querySelector(".copy").innerText === "Copied" || getSelection().toString().startsWith("weir why")`)
	b.click(".close")
	b.await("the panel is closed", `document.querySelector("#panel").hidden`)

	b.await("the map has the drop", `[...document.querySelectorAll(".word.bad")].find((w) => w.title.startsWith("shop/frontend to data/postgres") && !w.hidden)`)
	b.clickOn(`[...document.querySelectorAll(".word.bad")].find((w) => w.title.startsWith("shop/frontend to data/postgres"))`)
	b.says("Policy denied by denylist", "data/only-applications")

	b.press(kb.Escape)
	s.send(asks, 1)
	b.await("one that was let through is there", `document.querySelector("#rows tr:not(.dropped):not(.gap)")`)
	b.click("#rows tr:not(.dropped):not(.gap)")
	b.says("Forwarded", "To overlay", "Service\nshop/catalog")
}

// What pods are called is text, wherever it is shown.
func TestNamesStayText(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	const hostile = "evil/<img src=x onerror=window.pwned=1>"
	from := talk{From: hostile, To: "evil/<b>bold</b>&amp;" + strings.Repeat("long", 15), Port: 80, Outcome: "hostile"}
	s.send(from, 1)
	s.send(talk{From: from.To, To: hostile, Port: 80}, 1)
	b.awaitRows(3)
	if got := b.rows()[1]; got[1] != hostile+"-0" || got[2] != "evil/javascript:alert(1)" {
		t.Errorf("in the table: %q", got)
	}
	b.await("both are on the map", `document.querySelectorAll(".node").length === 2`)
	if got := b.text("#map"); !strings.Contains(got, "<img src=x") || !strings.Contains(got, "<b>bold</b>&amp;") {
		t.Errorf("on the map: %q", got)
	}
	b.click("#rows tr.dropped:not(.judged)")
	b.says(hostile, "</p><script>window.pwned=3</script>", `k8s:app="><script>window.pwned=2</script>`, "</td></table><h1>gone</h1>", "weir why 'evil/<img src=x onerror=window.pwned=1>-0' '[evil/javascript:alert(1)]:80'")
	b.click(".node")
	b.await("its text is asked for", `document.querySelector("#text").value.startsWith("evil/")`)
	b.awaitRows(3)
	if n := value[int](b, `document.querySelectorAll("main img, main script, main b, main h1, main table table").length`); n != 0 {
		t.Errorf("%d elements were made of names", n)
	}
	if value[bool](b, "'pwned' in window") {
		t.Error("a name was run")
	}
	if got := value[[]float64](b, `[document.documentElement.scrollWidth, innerWidth]`); got[0] > got[1] {
		t.Errorf("long names make the page %v wide, and the window is %v", got[0], got[1])
	}
}
