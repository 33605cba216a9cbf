package page

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const patience = 30 * time.Second // with what must happen

// browser is a window with the page.
type browser struct {
	t   *testing.T
	ctx context.Context
	at  string // host and port of the server

	mu        sync.Mutex
	wrong     []string // errors that nobody expects
	elsewhere []string // requests to other origins
	offline   bool     // the server is away: failed requests are no news
}

// browsers are the names of programs that will do.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

func find(t *testing.T) string {
	t.Helper()
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("there is no browser (%s): `make browser` installs Debian's chromium", strings.Join(browsers, ", "))
	return ""
}

// open opens the page of a server. When the test ends, nothing may have gone wrong in it.
func open(t *testing.T, s *server, fragment string) *browser {
	t.Helper()
	b := &browser{t: t, at: s.address}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(find(t)), chromedp.NoSandbox, chromedp.WindowSize(1280, 800),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	if err := chromedp.Do(b.ctx); err != nil {
		t.Fatalf("the browser does not start: %v", err)
	}
	b.size(1280, 800, 1)
	b.colors("light")
	b.do(chromedp.Navigate("http://" + b.at + "/#" + fragment))
	t.Cleanup(b.check)
	b.await("the page is told of flows", `document.querySelector("#state").innerText === "Live"`)
	b.await("all nodes are there", `document.querySelector("#nodes").innerText === "3 nodes"`)
	return b
}

// hear notes what must not be.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, "exception: "+e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			b.wrong = append(b.wrong, fmt.Sprintf("console.%s: %s", e.Type, e.Args[0].Value))
		}
	case *log.EventEntryAdded:
		if !b.offline || e.Entry.Source != log.EntrySourceNetwork {
			b.wrong = append(b.wrong, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case *cdppage.EventJavascriptDialogOpening:
		b.wrong = append(b.wrong, "a dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Host != b.at {
			b.elsewhere = append(b.elsewhere, e.Request.URL)
		}
	}
}

func (b *browser) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		b.t.Errorf("in the browser: %s", w)
	}
	for _, e := range b.elsewhere {
		b.t.Errorf("the page asked somebody else: %s", e)
	}
}

// expectOffline says whether requests may fail now.
func (b *browser) expectOffline(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offline = is
}

// forgive forgets what was wrong, for a test that makes it so.
func (b *browser) forgive() (was []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, b.wrong, b.elsewhere = b.wrong, nil, nil
	return was
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) size(width, height int64, scale float64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height, chromedp.EmulateScale(scale)))
}

// colors is what the system prefers: light or dark.
func (b *browser) colors(scheme string) {
	b.t.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, params); err != nil {
		b.t.Fatal(err)
	}
}

// value is what an expression is in the page.
func value[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression is true in the page.
func (b *browser) await(what, expression string) {
	b.t.Helper()
	for end := time.Now().Add(patience); !value[bool](b, "!!("+expression+")"); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s: never: %s\nthe page says:\n%s", what, expression, value[string](b, "document.body.innerText.slice(0, 3000)"))
		}
	}
}

// click clicks in the middle of what a selector finds, as a hand does.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.clickOn(fmt.Sprintf("document.querySelector(%q)", selector))
}

// clickOn clicks in the middle of an element. Something else may not lie over it.
func (b *browser) clickOn(element string) {
	b.t.Helper()
	at := value[[]float64](b, `(async () => { for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame); const e = `+element+`; if (!e) return null; e.scrollIntoView({ block: "nearest" }); const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
		const hit = document.elementFromPoint(x, y); return e === hit || e.contains(hit) ? [x, y] : [] })()`)
	if len(at) != 2 {
		b.t.Fatalf("%s: it is not there, or lies beneath something else: %v", element, at)
	}
	b.do(chromedp.MouseClickXY(at[0], at[1]))
}

// leave moves the pointer to where it holds nothing.
func (b *browser) leave() {
	b.t.Helper()
	b.do(chromedp.MouseEvent("mouseMoved", 1, 1))
}

// press presses keys, one after the other. As of a keyboard, a page that takes a key for
// itself keeps what it would have typed.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		for _, r := range k {
			events := kb.Encode(r)
			down, up := *events[0], *events[len(events)-1]
			if down.Type = input.DispatchKeyEventTypeRawKeyDown; len(events) == 3 {
				down.Type, down.Text, down.UnmodifiedText = input.DispatchKeyEventTypeKeyDown, events[1].Text, events[1].UnmodifiedText
			}
			for _, e := range []input.DispatchKeyEventParams{down, up} {
				if _, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, e); err != nil {
					b.t.Fatal(err)
				}
			}
		}
	}
}

// rows are the cells of the table, as people read them, the newest first.
func (b *browser) rows() [][]string {
	b.t.Helper()
	return value[[][]string](b, `[...document.querySelectorAll("#rows tr:not(.gap)")].map((r) => [...r.cells].map((c) => c.innerText.replace(/\s+/g, " ").trim()))`)
}

// awaitRows waits until the table has so many flows.
func (b *browser) awaitRows(n int) {
	b.t.Helper()
	b.await(fmt.Sprintf("%d flows in the table", n), fmt.Sprintf(`document.querySelectorAll("#rows tr:not(.gap)").length === %d`, n))
}

// awaitOneLine waits until the map has one line alone, between these.
func (b *browser) awaitOneLine(ends string) {
	b.t.Helper()
	b.await("one line on the map", fmt.Sprintf(`[...document.querySelectorAll("#map .edge title")].map((t) => t.textContent.split(":")[0]).join() === %q`, ends))
}

// text is what of an element people read.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return value[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}
