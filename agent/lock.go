package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// netnsLock is an abstract socket, of which a network namespace has one: devices and
// routes have the same names whatever folders an agent is told to use.
const netnsLock = "@weir-agent"

// lock makes this the only agent of its run folder and of its network namespace. The
// kernel drops both locks with the process, however it ends.
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
		return nil, fmt.Errorf("another agent (pid %s) holds %s: stop it: a node has one agent", strings.TrimSpace(string(b)), path)
	}
	socket, err := a.lockNetns(netnsLock)
	if err != nil {
		f.Close()
		return nil, err
	}
	unlock = func() { f.Close(); socket.Close() }
	pid := strconv.Itoa(os.Getpid()) + "\n"
	if err := errors.Join(f.Truncate(0), os.WriteFile(path, []byte(pid), 0o600)); err != nil {
		unlock()
		return nil, fmt.Errorf("write pid file: %w", err)
	}
	return unlock, nil
}

// lockNetns refuses a namespace in which another agent is. Anybody may take the name of
// such a socket, so that one who is not root is told of, and does not count.
func (a *Agent) lockNetns(socket string) (interface{ Close() error }, error) {
	l, err := net.Listen("unix", socket)
	if err == nil {
		go hangUp(l)
		return l, nil
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("lock the network namespace: %w", err)
	}
	who, err := holder(socket)
	if err != nil {
		return nil, fmt.Errorf("another agent has this network namespace (socket %s): stop it: a node has one agent; who it is cannot be told: %w", netnsLock, err)
	}
	if who.Uid != 0 {
		a.warn(fmt.Sprintf("pid %d of user %d has the socket %s, by which agents of one node know each other: end it", who.Pid, who.Uid, socket))
		return nobody{}, nil
	}
	return nil, fmt.Errorf("another agent (pid %d) has this network namespace, with another runDir: stop it: a node has one agent", who.Pid)
}

// hangUp ends what asks who is there: the kernel has answered that already.
func hangUp(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return // the lock is dropped
		}
		c.Close()
	}
}

// holder is the process that listens on a socket.
func holder(name string) (*unix.Ucred, error) {
	c, err := net.DialTimeout("unix", name, time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var out *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { out, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	return out, failed
}

type nobody struct{}

func (nobody) Close() error { return nil }
