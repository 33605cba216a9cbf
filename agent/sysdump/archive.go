package sysdump

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"time"
)

// Entry says of one file of the archive how it was got.
type Entry struct {
	Name    string `json:"name"`
	Bytes   int    `json:"bytes"`
	Took    string `json:"took"`
	Cut     bool   `json:"cut,omitempty"`     // it was larger than may be
	Missing string `json:"missing,omitempty"` // why it is not there
}

// archive is a tar.gz with a bound.
type archive struct {
	folder  string
	now     time.Time
	left    int // bytes that may still be added
	zip     *gzip.Writer
	tar     *tar.Writer
	entries []Entry
}

func newArchive(w io.Writer, folder string, now time.Time, limit int) *archive {
	z := gzip.NewWriter(w)
	return &archive{folder: folder, now: now, left: limit, zip: z, tar: tar.NewWriter(z)}
}

// add writes a file, or its beginning where it is too large.
func (a *archive) add(e Entry, data []byte, most int) (Entry, error) {
	if most = min(most, a.left); len(data) > most {
		data, e.Cut = data[:most], true
	}
	e.Bytes = len(data)
	a.left -= len(data)
	a.entries = append(a.entries, e)
	return e, a.write(e.Name, data)
}

// miss notes what could not be had.
func (a *archive) miss(e Entry, err error) {
	e.Missing = scrub(err.Error())
	a.entries = append(a.entries, e)
}

func (a *archive) write(name string, data []byte) error {
	h := &tar.Header{Name: path.Join(a.folder, name), Mode: 0o600, Size: int64(len(data)), ModTime: a.now, Typeflag: tar.TypeReg}
	if err := a.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s into the archive: %w", name, err)
	}
	if _, err := a.tar.Write(data); err != nil {
		return fmt.Errorf("write %s into the archive: %w", name, err)
	}
	return nil
}

// close adds what is in the archive and what is not, and ends it.
func (a *archive) close(node string) error {
	list, err := pretty(a.entries)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "weir sysdump of %s, %s\n\n%d files. Not there, or not whole:\n", node, a.now.UTC().Format(time.RFC3339), len(a.entries))
	none := true
	for _, e := range a.entries {
		switch {
		case e.Missing != "":
			none = false
			fmt.Fprintf(&b, "  %s: %s\n", e.Name, e.Missing)
		case e.Cut:
			none = false
			fmt.Fprintf(&b, "  %s: only the first %d bytes\n", e.Name, e.Bytes)
		}
	}
	if none {
		b.WriteString("  nothing\n")
	}
	for name, data := range map[string][]byte{"manifest.json": list, "SUMMARY.txt": b.Bytes()} {
		if err := a.write(name, data); err != nil {
			return err
		}
	}
	if err := a.tar.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	if err := a.zip.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}

// pretty is JSON for people.
func pretty(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b.Bytes(), nil
}
