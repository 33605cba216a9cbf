package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lock makes this the only agent of its run folder. The kernel drops the lock
// with the process, however it ends.
func (a *Agent) lock() (unlock func(), err error) {
	if err := os.MkdirAll(a.cfg.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("make run folder: %w", err)
	}
	path := filepath.Join(a.cfg.RunDir, "weir.pid")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open pid file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		b, _ := os.ReadFile(path)
		f.Close()
		return nil, fmt.Errorf("another agent (pid %s) holds %s: stop it, or set another runDir", strings.TrimSpace(string(b)), path)
	}
	f.Truncate(0)
	f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return func() { f.Close() }, nil
}
