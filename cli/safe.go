package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// safe writes what agents and clusters say so that a terminal shows it and does not obey it:
// names, labels and errors come from others, whom nobody has to trust with this terminal.
type safe struct {
	w    io.Writer
	held []byte // the beginning of a character whose rest is to come
}

// Write implements io.Writer.
func (p *safe) Write(b []byte) (int, error) {
	text := append(p.held, b...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if at := len(text) - i; utf8.RuneStart(text[at]) {
			if !utf8.FullRune(text[at:]) {
				whole = at
			}
			break
		}
	}
	p.held = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(p.w, visible(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// visible writes characters that steer a terminal, or the direction of text, by their
// numbers, as JSON does. Lines and tabs stay.
func visible(s string) string {
	if strings.IndexFunc(s, steers) < 0 && utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for i, r := range s {
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, s[i])
		case steers(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

func steers(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
}

// oneLine keeps a value from looking like further lines or cells of the output.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\n\t") {
		return s
	}
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(s)
}
