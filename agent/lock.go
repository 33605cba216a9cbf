package agent

import (
	"errors"
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
		return nil, fmt.Errorf("another agent (pid %s) holds %s: stop it, or set another runDir and another bpf.root", strings.TrimSpace(string(b)), path)
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if err := errors.Join(f.Truncate(0), os.WriteFile(path, []byte(pid), 0o600)); err != nil {
		f.Close()
		return nil, fmt.Errorf("write pid file: %w", err)
	}
	return func() { f.Close() }, nil
}
