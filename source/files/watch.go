package files

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// watch tells which files of a directory changed, by inotify(7). A file counts
// as changed when its writer closes it, so that half of it is never read.
type watch struct {
	dir    string
	fd     int
	events *os.File
	wd     int
}

const mask = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w: raise fs.inotify.max_user_instances", dir, err)
	}
	w := &watch{dir: dir, fd: fd, events: os.NewFile(uintptr(fd), "inotify")}
	if w.wd, err = unix.InotifyAddWatch(fd, dir, mask); err != nil {
		w.close()
		return nil, fmt.Errorf("watch %s: %w: raise fs.inotify.max_user_watches", dir, err)
	}
	return w, nil
}

func (w *watch) close() { w.events.Close() }

// renew watches the directory that has the name by now. Adding a watch that
// exists changes nothing.
func (w *watch) renew(log *slog.Logger) {
	wd, err := unix.InotifyAddWatch(w.fd, w.dir, mask)
	if err != nil {
		return // the scan reports that the directory is gone
	}
	if wd != w.wd {
		log.Info("source directory replaced", "dir", w.dir)
	}
	w.wd = wd
}

// follow sends the names of changed files until ctx ends; an empty list means
// that any may have changed. While nobody receives, the kernel queues, and says
// when it had to drop events.
func (w *watch) follow(ctx context.Context) <-chan []string {
	out := make(chan []string)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := w.events.Read(buf)
			if err != nil {
				return // closed: the source ends
			}
			names, all := decode(buf[:n])
			if !all && len(names) == 0 {
				continue
			}
			if all {
				names = nil
			}
			select {
			case out <- names:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// decode takes what inotify wrote: events of 16 bytes, each followed by a name
// with zeros behind it. all is set when names do not tell what changed: events
// were lost, or a link to all files was replaced, as in a mounted ConfigMap.
func decode(buf []byte) (names []string, all bool) {
	for len(buf) >= unix.SizeofInotifyEvent {
		what := binary.NativeEndian.Uint32(buf[4:])
		size := int(binary.NativeEndian.Uint32(buf[12:]))
		name := string(bytes.TrimRight(buf[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], "\x00"))
		buf = buf[unix.SizeofInotifyEvent+size:]
		switch {
		case what&unix.IN_Q_OVERFLOW != 0:
			all = true
		case wanted(name):
			names = append(names, name)
		case what&unix.IN_MOVED_TO != 0 && len(name) > 1 && name[:2] == "..":
			all = true
		}
	}
	return names, all
}
