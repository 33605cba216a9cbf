package page

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// program builds test/pageserver once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pageserver")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pageserver")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", path, "./test/pageserver").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// talk is that one end speaks to another; see test/pageserver.
type talk struct {
	From, To string
	Port     uint16
	Proto    string
	Service  bool
	Name     string
	IPv6     bool
	Answer   bool
	Outcome  string
}

type order struct {
	Do    string
	Flow  talk
	Count int
	Node  int
}

// server is a relay with its page, in a process that may be killed.
type server struct {
	t       *testing.T
	address string
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// startServer starts one at an address; that of 127.0.0.1:0 is a free one.
func startServer(t *testing.T, address string) *server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "page") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{t: t, process: exec.Command(path, dir, address)}
	s.process.Stderr = os.Stderr
	if s.in, err = s.process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	s.out = bufio.NewReader(out)
	s.address = s.line()
	return s
}

func (s *server) line() string {
	s.t.Helper()
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the server: %q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

// kill ends it as a lost node does.
func (s *server) kill() {
	s.process.Process.Kill()
	s.process.Wait()
}

func (s *server) order(o order) {
	s.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Fprintln(s.in, string(text)); err != nil {
		s.t.Fatal(err)
	}
	if got := s.line(); got != "done" {
		s.t.Fatalf("%s: %s", text, got)
	}
}

func (s *server) send(t talk, count int) {
	s.t.Helper()
	s.order(order{Do: "send", Flow: t, Count: count})
}
