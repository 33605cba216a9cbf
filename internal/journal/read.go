package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// minRewrite is how much may be old before it is worth while to rewrite it.
const minRewrite = 16 << 20

// place is where a line stands.
type place struct {
	segment int
	offset  int64
}

// Load tells every object that is there, and which kinds are complete, those
// after their objects. It is called before Run.
func (j *Journal) Load(each func(Record)) error {
	list, err := j.segments()
	if err != nil {
		return err
	}
	return j.live(list, func(r Record, _ []byte) error { each(r); return nil })
}

// live goes through the lines that count: it reads twice and remembers where the
// last line of each object stands, which costs no memory for the objects.
func (j *Journal) live(list []int, each func(Record, []byte) error) error {
	last := map[string]place{} // kind and name
	broken := 0
	err := j.scan(list, func(r Record, at place, _ []byte) error {
		switch {
		case r.Reset:
			clear(last)
		case r.Name != "" && r.Object == nil:
			delete(last, r.Kind+" "+r.Name)
		default:
			last[r.Kind+" "+r.Name] = at
		}
		return nil
	}, func() { broken++ })
	if err != nil {
		return err
	}
	if broken > 0 {
		j.log.Warn("some lines of the known objects are not whole, as after a crash; they are passed over", "lines", broken, "dir", j.dir)
	}
	var complete []Record
	var lines [][]byte
	err = j.scan(list, func(r Record, at place, line []byte) error {
		if last[r.Kind+" "+r.Name] != at || r.Reset {
			return nil
		}
		if r.Name == "" {
			complete, lines = append(complete, r), append(lines, line)
			return nil
		}
		return each(r, line)
	}, func() {})
	for i := range complete {
		err = errors.Join(err, each(complete[i], lines[i]))
	}
	return err
}

func (j *Journal) scan(list []int, each func(Record, place, []byte) error, broken func()) error {
	for _, n := range list {
		if err := j.scanFile(n, each, broken); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) scanFile(n int, each func(Record, place, []byte) error, broken func()) error {
	f, err := os.Open(j.path(n))
	if err != nil {
		return fmt.Errorf("read known objects: %w", err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	for at := int64(0); ; {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if r, ok := parse(line); ok {
				if err := each(r, place{n, at}, line); err != nil {
					return err
				}
			} else {
				broken()
			}
		}
		at += int64(len(line))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read known objects: %w", err)
		}
	}
}

// rewrite puts the lines that count into one file, while others are appended to
// the next. The new file says that what stands before it does not count, so that
// it does not matter whether a crash leaves the old ones.
func (j *Journal) rewrite() error {
	if err := j.next(); err != nil {
		return err
	}
	list, err := j.segments()
	if err != nil {
		return err
	}
	old, into := list[:len(list)-1], j.segment-1
	tmp := j.path(into) + ".tmp"
	size, err := j.write(tmp, old)
	if err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, j.path(into)); err != nil {
		return fmt.Errorf("rewrite known objects: %w", err)
	}
	j.total, j.floor, j.files = size+j.size, size, 2
	return j.remove(old, into-1)
}

func (j *Journal) write(path string, old []int) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("rewrite known objects: %w", err)
	}
	defer f.Close()
	out := bufio.NewWriterSize(f, 1<<20)
	put := func(line []byte) error {
		n, err := out.Write(line)
		size += int64(n)
		return err
	}
	err = put(Record{Reset: true}.line())
	if err == nil {
		err = j.live(old, func(_ Record, line []byte) error { return put(line) })
	}
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return 0, fmt.Errorf("rewrite known objects: %w", err)
	}
	return size, nil
}
