package page

import (
	"fmt"
	"strings"
	"testing"
)

// Who asked a socket's service is told by requests alone, and where that is of no pod, its
// answers have the same place.
func TestRequestAndAnswerAreOneLine(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	for _, ipv6 := range []bool{false, true} {
		request := talk{From: "kube-system/coredns", To: "kube-apiserver", Port: 443, Service: true, IPv6: ipv6}
		answer := request
		answer.Answer = true
		s.send(request, 1)
		s.send(answer, 1)
	}
	b.awaitRows(4)
	if got := fmt.Sprint(b.rows()); strings.Count(got, "default/kubernetes") != 2 {
		t.Errorf("want the service in both requests and in no answer: %s", got)
	}
	b.awaitOneLine("kube-system/coredns to kube-apiserver (asked)")
}

func TestTheMapShowsWhoSpeaksToWhom(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.send(asks, 10)
	s.send(asks6, 10)
	s.send(denied, 3)
	s.send(talk{From: "shop/frontend", To: "data/redis", Port: 80, Outcome: "no-backend"}, 1)
	b.await("four lines", `document.querySelectorAll(".edge").length === 4`)
	got := value[map[string]string](b, `Object.fromEntries([...document.querySelectorAll(".edge")].map((e) => [e.querySelector("title").textContent.split(":")[0], e.classList.contains("bad") ? "bad" : "fine"]))`)
	for edge, want := range map[string]string{
		"shop/frontend to shop/catalog": "fine", "world (asks) to shop/frontend": "fine", "shop/frontend to data/postgres": "bad", "shop/frontend to service data/redis": "bad",
	} {
		if got[edge] != want {
			t.Errorf("%s is %q, want %q (all: %v)", edge, got[edge], want, got)
		}
	}
	cards := value[[]string](b, `[...document.querySelectorAll(".card")].map((c) => c.innerText)`)
	if strings.Join(cards, ", ") != "From outside, shop, data" {
		t.Errorf("cards from left to right: %q", cards)
	}
	// A drop is told by more than its colour.
	s.send(asks, 1)
	b.await("a line has flows now", `document.querySelector(".edge.good")`)
	looks := value[[]string](b, `["good", "bad"].flatMap((k) => { const s = getComputedStyle(document.querySelector(".edge." + k + " .line")); return [s.stroke, s.strokeDasharray] })`)
	if looks[0] == looks[2] || looks[1] != "none" || looks[3] == "none" {
		t.Errorf("lines of good and bad look like %q", looks)
	}
	b.await("drops are counted", `[...document.querySelectorAll(".word.bad:not([hidden])")].map((w) => w.innerText).sort().join() === "✕ 1,✕ 3"`)
}

// overlapping are the words and boxes of the map that lie over each other, in pixels of one.
const overlapping = `(() => {
	const all = [...document.querySelectorAll(".node, .word:not([hidden]), .card h3")].map((e) => {
		const range = document.createRange();
		range.selectNodeContents(e);
		return [e.textContent, (e.matches("h3") ? range : e).getBoundingClientRect()];
	});
	const out = [];
	for (const [i, [a, p]] of all.entries()) for (const [c, q] of all.slice(i + 1)) {
		if (p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1) out.push(a + " over " + c);
	}
	return out;
})()`

// crossed are the boxes that lines of others pass behind.
const crossed = `(() => {
	const map = document.querySelector("#map").getBoundingClientRect();
	const boxes = [...document.querySelectorAll(".node")].map((n) => [n.textContent, n.getBoundingClientRect()]);
	const out = [];
	for (const line of document.querySelectorAll(".line")) {
		const long = line.getTotalLength(), at = (l) => { const p = line.getPointAtLength(l); return { x: p.x + map.x, y: p.y + map.y } };
		const inside = (p, r, by) => p.x > r.left + by && p.x < r.right - by && p.y > r.top + by && p.y < r.bottom - by;
		const ends = [at(0), at(long)];
		for (const [name, r] of boxes) {
			if (ends.some((p) => inside(p, r, -3))) continue;
			for (let l = 0; l < long; l += 4) if (inside(at(l), r, 1)) { out.push(line.parentNode.querySelector("title").textContent + " behind " + name); break }
		}
	}
	return out;
})()`

func TestNothingOnTheMapLiesOverAnother(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	s.order(order{Do: "play"})
	b.await("the whole scene", `document.querySelectorAll(".edge").length === 19 && document.querySelectorAll(".word.bad:not([hidden])").length === 3 && !document.querySelector(".edge.idle")`)
	s.order(order{Do: "still"})
	for _, width := range []int64{1280, 900, 1920, 400} {
		before := value[string](b, `document.querySelector("#map").style.width`)
		b.size(width, 900, 1)
		if width != 1280 {
			b.await("it is drawn anew", fmt.Sprintf(`document.querySelector("#map").style.width !== %q`, before))
		}
		for what, list := range map[string][]string{"lie over each other": value[[]string](b, overlapping), "are crossed": value[[]string](b, crossed)} {
			if len(list) > 0 {
				t.Errorf("width %d: %s: %q", width, what, list)
			}
		}
	}
}
