package page

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

const biggest = 200_000 // octets of a picture

// The pictures of docs/page.md can be made; WEIR_SCREENSHOTS says where to put them.
func TestScreenshots(t *testing.T) {
	folder := cmp.Or(os.Getenv("WEIR_SCREENSHOTS"), t.TempDir())
	s := startServer(t, "127.0.0.1:0")
	b := open(t, s, "")
	b.do(chromedp.Evaluate[chromedp.Void](`document.body.style.fontFamily = '"Liberation Sans", Arial, sans-serif'`)) // the same on every machine
	s.order(order{Do: "play"})
	seen := func() {
		t.Helper()
		b.await("the whole scene is drawn", `document.querySelectorAll(".edge").length >= 19 && document.querySelectorAll(".word.bad:not([hidden])").length === 3 &&
			!document.querySelector(".edge.idle")`)
	}
	seen()
	b.leave()
	b.await("drops in the table", `[...document.querySelectorAll("#rows tr")].slice(0, 6).some((r) => r.matches(".dropped"))`)
	s.order(order{Do: "still"})
	b.shoot(folder, "page")
	b.clickOn(`[...document.querySelectorAll(".word.bad")].find((w) => w.title.startsWith("shop/frontend"))`)
	b.await("the drop is explained, and the map has made room", `!document.querySelector("#panel").hidden && document.querySelector("#map").offsetWidth <= document.querySelector("#services").offsetWidth`)
	b.colors("dark")
	b.leave()
	b.shoot(folder, "page-drop")
	b.colors("light")
	b.press("\x1b")
	s.order(order{Do: "play"})
	b.size(400, 860, 2)
	seen()
	b.shoot(folder, "page-narrow")
}

func (b *browser) shoot(folder, name string) {
	b.t.Helper()
	data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		data, err = smaller(data)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name+".png"), data, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if b.t.Logf("%s.png: %d bytes", name, len(data)); len(data) > biggest {
		b.t.Errorf("%s.png has %d bytes, and may have %d", name, len(data), biggest)
	}
}

// smaller is the same picture in the 256 colours that it has most of.
func smaller(data []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	count := map[color.RGBA]int{}
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(from.At(x, y)).(color.RGBA) }
	size := from.Bounds()
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	most := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range most[:min(256, len(most))] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	for _, c := range most {
		nearest[c] = uint8(palette.Index(c))
	}
	to := image.NewPaletted(size, palette)
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			to.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
}
