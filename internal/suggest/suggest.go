// Package suggest finds the word that a misspelt one was meant to be, for the
// "did you mean" of error messages. It knows nothing about what the words are.
package suggest

import "strings"

// Nearest returns the known key that whoever typed key most likely meant, or
// "": the same words in another case or at another place, else the key with
// the fewest differing letters; of two with as few, one of which key is the
// beginning (a plural, a word that was not finished).
func Nearest(key string, known []string) string {
	want := plain(key)
	best, least := "", 2*(len(want)/3+1)+1
	for _, k := range known {
		have := plain(k)
		if have == want || plain(last(k)) == plain(last(key)) {
			return k
		}
		d := 2 * distance(want, have)
		if strings.HasPrefix(have, want) || strings.HasPrefix(want, have) {
			d--
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// plain drops what people vary: case, dashes, underscores.
func plain(key string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
}

func last(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// distance is the number of letters to insert, delete or replace between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
