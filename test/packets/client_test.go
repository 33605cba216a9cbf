package packets

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// clientRole makes this test's binary a client, which a pod runs: see holdAll.
const clientRole = "WEIR_PACKETS_HOLD"

// event is what a client says of one of its connections.
type event struct {
	what string // "connected", "again", or how it ended
	to   string // the name of the connection
	pod  string // who answered, of TCP
	at   time.Time
}

// holdAll keeps connections that are named as NAME=NETWORK/ADDRESS, and tells what
// becomes of each. One that has ended is made again, once.
func holdAll(names []string) {
	var said sync.Mutex
	say := func(what, to, pod string) {
		said.Lock()
		defer said.Unlock()
		fmt.Println(what, to, pod)
	}
	for _, n := range names {
		name, to, _ := strings.Cut(n, "=")
		network, address, _ := strings.Cut(to, "/")
		go func() {
			for _, what := range []string{"connected", "again"} {
				pod, ended := hold(network, address, func(pod string) { say(what, name, pod) })
				say(ended, name, pod)
			}
		}()
	}
	bufio.NewReader(os.Stdin).ReadByte() // until the test ends
}

// hold connects, and returns how the connection has ended.
func hold(network, address string, connected func(pod string)) (pod, ended string) {
	c, err := net.DialTimeout(network, address, 3*time.Second)
	if err != nil {
		return "", word(err)
	}
	defer c.Close()
	if network == "tcp" {
		if pod, err = whoAnswers(c, address); err != nil {
			return pod, word(err)
		}
	}
	connected(pod)
	_, err = c.Read(make([]byte, 1))
	return pod, word(err)
}

// whoAnswers asks on a connection that goes on.
func whoAnswers(c net.Conn, address string) (string, error) {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
		return "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b := make([]byte, 100)
	n, _ := r.Body.Read(b)
	name, _, _ := strings.Cut(strings.TrimPrefix(string(b[:n]), "PodName: "), " ")
	return name, nil
}

func word(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return strings.ReplaceAll(no.Error(), " ", "-")
	}
	return strings.ReplaceAll(fmt.Sprint(err), " ", "-")
}

const (
	aborted = "software-caused-connection-abort" // ECONNABORTED
	refused = "connection-refused"
)

// holder is such a client somewhere in a lab.
type holder struct {
	mu     sync.Mutex
	events []event // guarded by mu
}

// hold starts one, and waits until it has all its connections.
func (c *cluster) hold(t *testing.T, from string, names []string) *holder {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, stdin := &holder{}, (interface{ Close() error })(nil)
	cmd, err := c.Start(t.Context(), from, append([]string{self}, names...), func(cmd *exec.Cmd) {
		cmd.Env, cmd.Stderr = append(cmd.Env, clientRole+"=1"), os.Stderr
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		stdin = in
		go h.follow(bufio.NewScanner(out))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	h.await(t, from+" is connected", 5*time.Second, func(events []event) bool { return len(events) >= len(names) })
	return h
}

func (h *holder) follow(lines *bufio.Scanner) {
	for lines.Scan() {
		f := append(strings.Fields(lines.Text()), "", "")
		h.mu.Lock()
		h.events = append(h.events, event{f[0], f[1], f[2], time.Now()})
		h.mu.Unlock()
	}
}

// await waits until what was said is as it should be, and returns it.
func (h *holder) await(t *testing.T, what string, limit time.Duration, ok func([]event) bool) []event {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		h.mu.Lock()
		events := append([]event{}, h.events...)
		h.mu.Unlock()
		if ok(events) {
			return events
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after %v: %v", what, limit, events)
		}
	}
}
