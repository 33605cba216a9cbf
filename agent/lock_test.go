package agent

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestASecondLockOfOneNetworkNamespaceIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only an agent of root counts")
	}
	a := &Agent{log: slog.New(slog.DiscardHandler)}
	name := fmt.Sprintf("@weir-test-%d", os.Getpid())
	first, err := a.lockNetns(name)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := a.lockNetns(name); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another agent (pid %d)", os.Getpid())) {
			t.Errorf("second: %v", err)
		}
	}
	first.Close()
	again, err := a.lockNetns(name)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}

// Whoever may open a socket could keep agents from starting otherwise.
func TestASocketOfAnotherUserKeepsNoAgentFromStarting(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	name := fmt.Sprintf("@weir-test-%d", os.Getpid())
	made := make(chan error)
	var theirs net.Listener
	go func() {
		runtime.LockOSThread() // and ends with the goroutine: it stays another user's
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534)
		if errno != 0 {
			made <- errno
			return
		}
		var err error
		theirs, err = net.Listen("unix", name)
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	a := &Agent{log: slog.New(slog.DiscardHandler)}
	if _, err := a.lockNetns(name); err != nil {
		t.Fatal(err)
	}
	if len(a.warnings) != 1 || !strings.Contains(a.warnings[0], "user 65534 has the socket "+name) {
		t.Errorf("warnings %q", a.warnings)
	}
}
