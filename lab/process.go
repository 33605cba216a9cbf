package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process names a process for good: a process id is used again some time, but
// not with the same start time.
type Process struct {
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // ticks since boot
}

// launch says how to start a process that outlives this one.
type launch struct {
	netns string   // path
	group string   // control group; empty in labs without
	argv  []string // argv[0] is looked up in PATH
	env   []string // added to this process's
	log   string   // file for stdout and stderr, appended to
	files []*os.File
}

// start starts the process in its network namespace and control group, as the
// leader of a session and process group of its own.
func (l launch) start() (Process, error) {
	log, err := os.OpenFile(l.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return Process{}, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(l.argv[0], l.argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), l.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = l.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startIn(l.netns, l.group, cmd); err != nil {
		return Process{}, fmt.Errorf("start %s: %w", l.argv[0], err)
	}
	p := Process{PID: cmd.Process.Pid}
	p.Start, _, _ = procStat(p.PID)
	go func() { _ = cmd.Wait() }() // reaps it, should it end before this process
	return p, nil
}

// Alive reports whether the process still runs.
func (p Process) Alive() bool {
	start, state, err := procStat(p.PID)
	return err == nil && p.PID > 0 && start == p.Start && state != 'Z' && state != 'X'
}

// signal sends sig to the process and its group, unless the process is gone.
func (p Process) signal(sig syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	err := syscall.Kill(-p.PID, sig)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// stop ends the process group: SIGTERM, and SIGKILL when it is still there
// after grace.
func (p Process) stop(grace time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if p.gone(grace) {
		return nil
	}
	return p.kill()
}

func (p Process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !p.gone(5 * time.Second) {
		return fmt.Errorf("process %d did not end after SIGKILL", p.PID)
	}
	return nil
}

// gone waits for the end of the process.
func (p Process) gone(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return poll(ctx, 5*time.Millisecond, func() bool { return !p.Alive() }) == nil
}

// poll asks until the answer is yes or the context ends.
func poll(ctx context.Context, every time.Duration, done func() bool) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// procStat reads start time and state of a process (proc_pid_stat(5)).
func procStat(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name in parentheses may hold anything: fields count from the last one.
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	state = fields[0][0]
	if threads, _ := strconv.Atoi(fields[17]); state == 'Z' && threads > 1 {
		state = 'S' // the first thread is dead, others still hold files and locks
	}
	return start, state, err
}

// killInside ends every process whose network namespace has one of the inodes,
// this one excepted: what commands of pods, or people, left there.
func killInside(inodes map[uint64]bool) error {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		left := processesIn(inodes)
		for _, pid := range left {
			if p, err := os.FindProcess(pid); err == nil { // a pidfd: it cannot become another's
				if inodes[inode(fmt.Sprintf("/proc/%d/ns/net", pid))] {
					_ = p.Signal(sig) // one that ended meanwhile is what we want
				}
				_ = p.Release()
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := poll(ctx, 5*time.Millisecond, func() bool { return len(processesIn(inodes)) == 0 })
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("processes %v in the lab's namespaces did not end after SIGKILL", processesIn(inodes))
}

func processesIn(inodes map[uint64]bool) []int {
	var out []int
	entries, _ := os.ReadDir("/proc") // an unreadable /proc has no processes to show
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		in := inode("/proc/" + e.Name() + "/ns/net")
		if in != 0 && inodes[in] {
			if _, state, err := procStat(pid); err == nil && state != 'Z' {
				out = append(out, pid)
			}
		}
	}
	return out
}
