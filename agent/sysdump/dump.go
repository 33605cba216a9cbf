package sysdump

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	api "weir/api/agent"
)

const (
	mostFile = 16 << 20         // bytes of one file
	oneLimit = 15 * time.Second // for one file
)

// options are what the user said.
type options struct {
	socket  string
	file    string // "-": standard output; "": a name of its own
	confDir string
	logFile string
	size    int           // MiB of all files, before they are packed
	limit   time.Duration // for all
	now     func() time.Time
	said    io.Writer // progress
}

// scrubbed is a value as JSON that has no secrets in its texts.
func scrubbed(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return walk(plain), nil
}

func walk(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = walk(v[k])
		}
	case []any:
		for i := range v {
			v[i] = walk(v[i])
		}
	case string:
		return scrub(v)
	}
	return v
}

// items are all files, and why some are not even known.
func items(ctx context.Context, o options) ([]item, error) {
	c := api.NewClient(o.socket)
	all := append(fromAgent(c), fromHost(o.confDir)...)
	if o.logFile != "" {
		all = append(all, item{"agent/log-file.json", func(context.Context) (any, error) { return logFile(o.logFile) }})
	}
	short, cancel := context.WithTimeout(ctx, oneLimit)
	defer cancel()
	more, err := mapsAndTables(short, c)
	return append(all, more...), err
}

// write makes the archive.
func write(ctx context.Context, o options, node string, w io.Writer) (*archive, error) {
	a := newArchive(w, "weir-sysdump-"+node+"-"+stamp(o.now()), o.now(), o.size<<20)
	all, err := items(ctx, o)
	if err != nil {
		a.miss(Entry{Name: "maps/, tables/"}, err)
	}
	for i, it := range all {
		e := Entry{Name: it.name}
		began := time.Now()
		data, err := fetch(ctx, it)
		e.Took = time.Since(began).Round(time.Millisecond).String()
		if err == nil && a.left <= 0 {
			err = fmt.Errorf("left out: the archive has its %d MiB", o.size)
		}
		if err != nil {
			a.miss(e, err)
			fmt.Fprintf(o.said, "[%2d/%d] %-32s missing: %s\n", i+1, len(all), it.name, scrub(err.Error()))
			continue
		}
		if e, err = a.add(e, data, mostFile); err != nil {
			return a, err
		}
		fmt.Fprintf(o.said, "[%2d/%d] %-32s %d bytes, %s\n", i+1, len(all), it.name, e.Bytes, e.Took)
	}
	return a, a.close(node)
}

// fetch gets one file within its time, and within that of all.
func fetch(ctx context.Context, it item) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, errors.New("left out: the time is over")
	}
	ctx, cancel := context.WithTimeout(ctx, oneLimit)
	defer cancel()
	v, err := it.get(ctx)
	if err != nil {
		return nil, err
	}
	if raw, ok := v.([]byte); ok {
		return raw, nil
	}
	return pretty(v)
}

func stamp(t time.Time) string { return t.UTC().Format("20060102T150405Z") }

// nodeName is the agent's word, else the host's.
func nodeName(ctx context.Context, socket string) string {
	ctx, cancel := context.WithTimeout(ctx, oneLimit)
	defer cancel()
	var s api.Status
	if err := api.NewClient(socket).Get(ctx, api.PathStatus, &s); err == nil && s.Node != "" {
		return filepath.Base(s.Node)
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return filepath.Base(name)
}

// toFile makes a file that only its owner reads, whole or not at all.
func toFile(path string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".weir-sysdump-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make the archive: %w", err)
	}
	defer os.Remove(f.Name()) // is not there any more when all went well
	err = errors.Join(fill(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
