package lifecycle

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/lab"
)

// roleVariable makes this test binary one of the traffic programs.
const roleVariable = "WEIR_TEST_ROLE"

const (
	echoPort   = 7000
	recordSize = 256
	pace       = 2 * time.Millisecond
)

func lockThread() { runtime.LockOSThread() }

// report is what a traffic client says of itself, as lines of JSON.
type report struct {
	Sent, Echoed, Wrong uint64
	LongestGap          time.Duration // between two echoes
	Done                bool          // everything that will come has come
	Error               string
}

func playRole(role string, args []string) int {
	var err error
	switch role {
	case "echo":
		err = echo()
	case "tcp", "udp":
		err = stream(role, args[0])
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// echo sends back all it gets, until its stdin closes.
func echo() error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", echoPort))
	if err != nil {
		return err
	}
	u, err := net.ListenUDP("udp", &net.UDPAddr{Port: echoPort})
	if err != nil {
		return err
	}
	if err := u.SetReadBuffer(4 << 20); err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(c, c) }()
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			u.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	fmt.Println("listening")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// stream sends numbered records to an echo server, one every two milliseconds,
// and compares what comes back, until its stdin closes.
func stream(network, address string) error {
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	s := &streamer{conn: c, ordered: network == "tcp", seen: map[uint64]bool{}}
	stop := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(stop) }()
	var wg sync.WaitGroup
	wg.Go(s.receive)
	s.send(stop)
	if t, ok := c.(*net.TCPConn); ok {
		t.CloseWrite() // the server closes when it has echoed the rest
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
	} else {
		c.SetReadDeadline(time.Now().Add(time.Second))
	}
	wg.Wait()
	s.say(true)
	return nil
}

type streamer struct {
	conn    net.Conn
	ordered bool
	sent    atomic.Uint64
	echoed  atomic.Uint64
	wrong   atomic.Uint64
	gap     atomic.Int64
	problem atomic.Pointer[string]
	seen    map[uint64]bool // the receiver's own
}

func (s *streamer) send(stop <-chan struct{}) {
	beat := time.NewTicker(pace)
	defer beat.Stop()
	for {
		select {
		case <-stop:
			return
		case <-beat.C:
		}
		if _, err := s.conn.Write(record(s.sent.Load())); err != nil {
			s.fail(err)
			return
		}
		if s.sent.Add(1)%50 == 0 {
			s.say(false)
		}
	}
}

func (s *streamer) receive() {
	buf := make([]byte, recordSize)
	last := time.Now()
	for {
		if _, err := io.ReadFull(s.conn, buf); err != nil {
			if !errors.Is(err, io.EOF) && !(errors.Is(err, os.ErrDeadlineExceeded) && !s.ordered) {
				s.fail(err)
			}
			return
		}
		s.gap.Store(max(s.gap.Load(), int64(time.Since(last))))
		last = time.Now()
		n := binary.BigEndian.Uint64(buf)
		if string(buf) != string(record(n)) || s.seen[n] || (s.ordered && n != s.echoed.Load()) {
			s.wrong.Add(1)
		}
		s.seen[n] = true
		s.echoed.Add(1)
	}
}

// record is the number followed by bytes that depend on it.
func record(n uint64) []byte {
	out := make([]byte, recordSize)
	for i := range out[8:] {
		out[8+i] = byte(n*31 + uint64(i))
	}
	binary.BigEndian.PutUint64(out, n)
	return out
}

func (s *streamer) fail(err error) { text := err.Error(); s.problem.CompareAndSwap(nil, &text) }

func (s *streamer) say(done bool) {
	r := report{Sent: s.sent.Load(), Echoed: s.echoed.Load(), Wrong: s.wrong.Load(), LongestGap: time.Duration(s.gap.Load()), Done: done}
	if p := s.problem.Load(); p != nil {
		r.Error = *p
	}
	json.NewEncoder(os.Stdout).Encode(r)
}

// traffic is a running client in a pod.
type traffic struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{}

	mu   sync.Mutex
	last report // guarded by mu
	text string // stderr, likewise
}

// startRole runs this binary in a pod.
func startRole(t *testing.T, l *lab.Lab, where, role string, args ...string) (*exec.Cmd, io.Closer, io.Reader, *strings.Builder) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdin io.WriteCloser
	var stdout io.Reader
	stderr := &strings.Builder{}
	cmd, err := l.Start(t.Context(), where, append([]string{self}, args...), func(c *exec.Cmd) {
		c.Env = append(c.Env, roleVariable+"="+role)
		stdin, _ = c.StdinPipe()
		stdout, _ = c.StdoutPipe()
		c.Stderr = stderr
	})
	if err != nil {
		t.Fatal(err)
	}
	return cmd, stdin, stdout, stderr
}

// startEcho starts the echo server of a pod and returns when it listens.
func startEcho(t *testing.T, l *lab.Lab, where string) {
	t.Helper()
	cmd, stdin, stdout, stderr := startRole(t, l, where, "echo")
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("echo server in %s: %q, %v %s", where, line, err, stderr.String())
	}
}

// startTraffic streams from one pod to each address of another, over TCP and UDP.
func startTraffic(t *testing.T, l *lab.Lab, from, to string) []*traffic {
	t.Helper()
	var out []*traffic
	for _, ip := range pod(t, l, to).IPs {
		for _, network := range []string{"tcp", "udp"} {
			address := net.JoinHostPort(ip.String(), fmt.Sprint(echoPort))
			out = append(out, startStream(t, l, from, network, address))
		}
	}
	return out
}

func startStream(t *testing.T, l *lab.Lab, from, network, address string) *traffic {
	t.Helper()
	f := &traffic{name: from + " to " + network + " " + address, done: make(chan struct{})}
	cmd, stdin, stdout, stderr := startRole(t, l, from, network, address)
	f.cmd, f.stdin = cmd, stdin
	go func() {
		defer close(f.done)
		for d := json.NewDecoder(stdout); ; {
			var r report
			if d.Decode(&r) != nil {
				break
			}
			f.mu.Lock()
			f.last = r
			f.mu.Unlock()
		}
		cmd.Wait()
		f.mu.Lock()
		f.text = stderr.String()
		f.mu.Unlock()
	}()
	t.Cleanup(func() { stdin.Close(); <-f.done })
	return f
}

func (f *traffic) report() report {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// flow waits until each stream has had echoes for that long.
func flow(t *testing.T, streams []*traffic, d time.Duration) {
	t.Helper()
	more := uint64(d / pace) // a ticker never beats faster, so this takes d or longer
	targets := map[*traffic]uint64{}
	for _, f := range streams {
		targets[f] = f.report().Echoed + more
	}
	until(t, d*3+10*time.Second, func() string {
		for f, target := range targets {
			if r := f.report(); r.Echoed < target {
				return fmt.Sprintf("%s: %+v, want %d echoes", f.name, r, target)
			}
		}
		return ""
	})
}

// wantNoLoss ends the streams; every record must have come back, once and whole.
func wantNoLoss(t *testing.T, streams []*traffic) {
	t.Helper()
	for _, f := range streams {
		f.stdin.Close()
	}
	for _, f := range streams {
		<-f.done
		r := f.report()
		if !r.Done || r.Error != "" || r.Wrong != 0 || r.Echoed != r.Sent || r.Sent == 0 {
			t.Errorf("%s: %+v %s; want every record echoed once", f.name, r, f.text)
		}
		t.Logf("%s: %d sent, %d echoed, longest gap %s", f.name, r.Sent, r.Echoed, r.LongestGap.Round(time.Millisecond))
	}
}
