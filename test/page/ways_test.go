package page

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

func TestTheRelayGoesAwayAndReturns(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.send(asks, 2)
	b.awaitRows(2)
	b.expectOffline(true)
	s.kill()
	b.await("it is said", `document.querySelector("#state").innerText === "Not connected" && document.querySelector("#problem").innerText.startsWith("The relay cannot be reached")`)
	b.awaitRows(2) // what was shown stays
	again := startServer(t, s.address)
	b.await("it is live", `document.querySelector("#state").innerText === "Live" && document.querySelector("#problem").hidden`)
	b.expectOffline(false)
	b.await("the gap is shown", `[...document.querySelectorAll("tr.gap")].some((r) => r.innerText.includes("The relay was away for"))`)
	again.send(denied, 1)
	b.awaitRows(4)

	again.order(order{Do: "away", Node: 2})
	b.await("a node is away", `document.querySelector("#nodes").innerText === "3 nodes, away: east/n3" && [...document.querySelectorAll("tr.gap")].some((r) => r.innerText.includes("east/n3: Unavailable"))`)
	again.order(order{Do: "back", Node: 2})
	b.await("it is back", `document.querySelector("#nodes").innerText === "3 nodes"`)
	again.send(asks, 1)
	b.awaitRows(5)
	b.expectOffline(true) // the server ends before the browser
}

func TestTheKeyboardIsEnough(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.send(asks, 2)
	s.send(denied, 1)
	b.awaitRows(4)
	b.await("the map is drawn", `document.querySelectorAll(".node").length === 3`)

	focused := func() string {
		return value[string](b, `(() => { const e = document.activeElement; return e.id || e.className || e.name || e.tagName })()`)
	}
	var ways []string
	for range 9 {
		b.press(kb.Tab)
		ways = append(ways, focused())
		if outline := value[string](b, `(() => { const e = document.activeElement, s = getComputedStyle(e.matches("[type=radio]") ? e.parentNode : e); return s.outlineStyle + " " + s.outlineWidth })()`); !strings.HasPrefix(outline, "solid 2px") && !strings.HasPrefix(outline, "auto") {
			t.Errorf("%s has the focus, and does not show it: %s", focused(), outline)
		}
	}
	if got := strings.Join(ways, " "); !strings.HasPrefix(got, "pause text namespace verdict word bad node workload node workload node workload dropped") {
		t.Errorf("the tabulator goes to %s", got)
	}

	b.press("/", "p")
	if got := value[string](b, `document.querySelector("#text").value`); got != "p" {
		t.Errorf("typed into find: %q", got)
	}
	b.press(kb.Backspace)
	b.awaitRows(4)
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#rows tr[tabindex='0']").focus()`))
	b.press(kb.ArrowDown, kb.ArrowDown, kb.ArrowUp, kb.Enter)
	b.says("Policy denied by denylist", "The policy's verdict on the connection")
	b.press(kb.ArrowDown) // what is explained follows
	b.says("To overlay")
	b.press(kb.Home)
	b.says("Denied on the way in by")
	b.press(kb.Escape)
	if !value[bool](b, `document.querySelector("#panel").hidden && document.activeElement.matches("tr")`) {
		t.Errorf("after Escape, %s has the focus", focused())
	}
	b.press("p")
	b.await("paused", `document.querySelector("#state").innerText === "Paused"`)
	b.press("p")

	b.do(chromedp.Focus(chromedp.CSS(".word.bad")))
	b.press(kb.Enter)
	b.await("a drop of the map is explained", `!document.querySelector("#panel").hidden`)
	b.press(kb.Escape)
	b.do(chromedp.Focus(chromedp.CSS("input[value='']")))
	b.press(kb.ArrowRight, kb.ArrowRight)
	b.await("the verdict is chosen", `location.hash === "#verdict=dropped"`)
	b.awaitRows(2)
}

// faint are the texts whose contrast with what they lie on is below that of WCAG 2.2, 1.4.3.
const faint = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data] };
	const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)); return 0.2126 * x + 0.7152 * y + 0.0722 * z };
	const under = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c } return [255, 255, 255, 255] };
	const out = new Map();
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; (n = walk.nextNode()); ) {
		const e = n.parentElement;
		if (!n.data.trim() || !e.checkVisibility()) continue;
		const [a, b] = [light(rgb(getComputedStyle(e).color)), light(under(e))].sort((a, b) => b - a);
		const ratio = (a + 0.05) / (b + 0.05);
		if (ratio < 4.5) out.set(e.tagName + "." + e.className + " in " + e.parentElement.className, n.data.trim() + ": " + ratio.toFixed(2));
	}
	return Object.fromEntries(out);
})()`

func TestItCanBeReadInLightAndDarkAndNarrow(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.send(asks, 3)
	s.send(asks6, 3)
	s.send(denied, 2)
	s.order(order{Do: "lost"})
	b.await("all is drawn", `document.querySelectorAll("#rows tr.dropped").length === 4 && document.querySelector("tr.gap") && document.querySelector(".word.bad")`)
	b.click("#rows tr.dropped:not(.judged)")
	s.send(asks, 1)
	b.await("flows wait", `!document.querySelector("#fresh").hidden`)
	backs := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		b.colors(scheme)
		backs[value[string](b, `getComputedStyle(document.body).backgroundColor`)] = true
		for _, width := range []int64{1280, 800, 360} {
			b.size(width, 800, 1)
			b.await("it is drawn for the window", `document.querySelector(".node")`)
			for what, ratio := range value[map[string]string](b, faint) {
				t.Errorf("%s, %d wide: %s: %s", scheme, width, what, ratio)
			}
			if got := value[[]float64](b, `[document.documentElement.scrollWidth, innerWidth]`); got[0] > got[1] {
				t.Errorf("%d wide: what is shown is %v wide", width, got)
			}
			cut := value[[]string](b, fmt.Sprintf(`[...document.querySelectorAll("header > *, form > *, #panel, #panel .close, #fresh")].filter((e) => e.checkVisibility()).filter((e) => { const r = e.getBoundingClientRect(); return r.left < 0 || r.right > %d }).map((e) => e.id || e.className)`, width))
			if len(cut) > 0 {
				t.Errorf("%d wide: cut off: %q", width, cut)
			}
		}
	}
	if len(backs) != 2 {
		t.Errorf("light and dark are the same: %v", backs)
	}
	b.press(kb.Escape)
	b.await("the panel is closed", `document.querySelector("#panel").hidden`)
	b.click("#rows tr.dropped:not(.judged)")
	b.await("a narrow window explains, too", `document.querySelector("#panel").getBoundingClientRect().width > 300`)
	b.says("Policy denied by denylist")
}

// The page can ask nobody else, and runs nothing that did not come with it.
func TestThePageIsShutIn(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	asked := make(chan string, 100)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		w.Header().Set("Content-Type", "image/svg+xml")
		io.WriteString(w, `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`)
	}))
	defer other.Close()
	b := open(t, s, "")
	for what, script := range map[string]string{
		"asks somebody else":  `fetch("` + other.URL + `/data", { mode: "no-cors" }).then(() => true, () => false)`,
		"has a picture":       `new Promise((done) => { const i = new Image(); i.onload = () => done(true); i.onerror = () => done(false); i.src = "` + other.URL + `/icon.svg" })`,
		"runs a script of it": `new Promise((done) => { const s = document.createElement("script"); s.textContent = "window.ran = true"; document.body.append(s); done("ran" in window) })`,
		"runs an attribute":   `(() => { const b = document.createElement("button"); b.setAttribute("onclick", "window.clicked = true"); document.body.append(b); b.click(); return "clicked" in window })()`,
	} {
		if value[bool](b, script) {
			t.Errorf("the page %s", what)
		}
	}
	if n := len(b.forgive()); n < 3 {
		t.Errorf("the browser complained %d times only", n)
	}
	if len(asked) > 0 {
		t.Errorf("somebody else was asked for %s", <-asked)
	}
}
