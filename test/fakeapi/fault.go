package fakeapi

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// faults is how the server fails at the moment.
type faults struct {
	slow      time.Duration
	hole      chan struct{} // not nil: requests wait until it is closed
	silent    bool          // watches tell nothing more
	forbidden map[string]bool
	broken    map[string]string                // why reading fails, by kind
	hidden    map[string]func(key string) bool // of lists, by kind
	unwritten map[string]func(key string) bool // whose writes fail, by kind
	shuffle   bool
	duplicate bool
	noStream  bool
	token     string
	epoch     int // bumped when history is another
	requests  map[string]int
}

func (f *faults) hides(resource, key string) bool {
	hide := f.hidden[resource]
	return hide != nil && hide(key)
}

func (s *Server) fault(change func(*faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
	s.tell()
}

// Down ends the server: connections break, new ones are refused.
func (s *Server) Down() { s.Close() }

// Up starts it again, at the same address, with the same objects.
func (s *Server) Up() error { return s.listen(s.addr) }

// Slow makes every answer begin so much later.
func (s *Server) Slow(by time.Duration) { s.fault(func(f *faults) { f.slow = by }) }

// Hang makes the server take requests and answer none, watches among them, until
// Resume: what was open stays open and says nothing.
func (s *Server) Hang() {
	s.fault(func(f *faults) {
		if f.hole == nil {
			f.hole = make(chan struct{})
		}
		f.silent = true
	})
}

// Resume ends Hang.
func (s *Server) Resume() {
	s.fault(func(f *faults) {
		if f.hole != nil {
			close(f.hole)
		}
		f.hole, f.silent = nil, false
	})
}

// Expire forgets the history of all kinds, as compaction does: every watch, and
// each that starts at an older version, gets 410.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++ // so that nobody has reached the horizon
	for _, r := range s.resources {
		r.events, r.horizon = nil, s.version
	}
	s.tell()
}

// Forbid answers 403 to whatever is asked of a kind: "pods". Its watches are cut off.
func (s *Server) Forbid(resource string) {
	s.fault(func(f *faults) {
		if f.forbidden == nil {
			f.forbidden = map[string]bool{}
		}
		f.forbidden[resource] = true
		f.epoch++
	})
}

// Allow ends Forbid.
func (s *Server) Allow(resource string) { s.fault(func(f *faults) { delete(f.forbidden, resource) }) }

// FailReads answers 500 with a message to whoever lists or watches a kind, as when its
// conversion webhook is away, and "" ends it. Its watches are cut off.
func (s *Server) FailReads(resource, message string) {
	s.fault(func(f *faults) {
		if f.broken == nil {
			f.broken = map[string]string{}
		}
		f.broken[resource] = message
		f.epoch++
	})
}

// Hide leaves objects out of lists, streamed ones among them, as a faulty server
// does; hide is asked with "namespace/name", and nil ends it.
func (s *Server) Hide(resource string, hide func(key string) bool) {
	s.fault(func(f *faults) {
		if f.hidden == nil {
			f.hidden = map[string]func(string) bool{}
		}
		f.hidden[resource] = hide
	})
}

// FailWrites answers 500 to whoever creates, changes or deletes an object of a kind;
// fails is asked with "namespace/name", and nil ends it.
func (s *Server) FailWrites(resource string, fails func(key string) bool) {
	s.fault(func(f *faults) {
		if f.unwritten == nil {
			f.unwritten = map[string]func(string) bool{}
		}
		f.unwritten[resource] = fails
	})
}

// Shuffle puts lists, and events of different objects, into a random order.
func (s *Server) Shuffle(on bool) { s.fault(func(f *faults) { f.shuffle = on }) }

// Duplicate tells events more than once, older versions after newer ones among them.
func (s *Server) Duplicate(on bool) { s.fault(func(f *faults) { f.duplicate = on }) }

// NoStream makes the server one that does not know streamed lists.
func (s *Server) NoStream() { s.fault(func(f *faults) { f.noStream = true }) }

// RequireToken answers 401 to whoever has another bearer token.
func (s *Server) RequireToken(token string) { s.fault(func(f *faults) { f.token = token }) }

// Requests is how often a kind was asked for since the start, by any verb; "" is
// everything.
func (s *Server) Requests(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults.requests[path]
}

// Cut breaks all connections, and serves on.
func (s *Server) Cut() error {
	s.Down()
	return s.Up()
}

// Snapshot is the state of the server at one time.
type Snapshot struct {
	version uint64
	objects map[string]map[string]object // by path of the kind
}

// Snapshot returns what a backup would hold.
func (s *Server) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Snapshot{s.version, map[string]map[string]object{}}
	for path, r := range s.resources {
		out.objects[path] = maps.Clone(r.objects)
	}
	return out
}

// Restore makes the server what it was, as a restored backup of etcd does: versions
// go back, too, and nobody is told. All watches end.
func (s *Server) Restore(was Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = was.version
	for path, r := range s.resources {
		r.objects = maps.Clone(was.objects[path])
		if r.objects == nil {
			r.objects = map[string]object{}
		}
		r.events = slices.DeleteFunc(r.events, func(e event) bool { return e.version > was.version })
	}
	s.faults.epoch++
	s.tell()
}

// pass delays a request, or fails it; false means that it is answered.
func (s *Server) pass(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	f := s.faults
	if s.faults.requests == nil {
		s.faults.requests = map[string]int{}
	}
	s.faults.requests[r.URL.Path]++
	s.faults.requests[""]++
	s.mu.Unlock()
	if f.hole != nil {
		select {
		case <-f.hole:
		case <-r.Context().Done():
			return false
		}
	}
	if f.slow > 0 {
		select {
		case <-time.After(f.slow):
		case <-r.Context().Done():
			return false
		}
	}
	if f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token {
		refuse(w, status(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized"))
		return false
	}
	return true
}

// unwritable fails a write that FailWrites speaks of. The lock is held.
func (s *Server) unwritable(q *request, body []byte) *metav1.Status {
	fails := s.faults.unwritten[q.resource.Resource]
	name := q.name
	if h, _, err := parse(body); err == nil && name == "" {
		name = h.Metadata.Name
	}
	if fails == nil || !fails(q.namespace+"/"+name) {
		return nil
	}
	return status(http.StatusInternalServerError, metav1.StatusReasonInternalError, "Internal error occurred: %s %q is not written", q.resource.Resource, name)
}

// unreadable fails what FailReads speaks of, and what Forbid does.
func (s *Server) unreadable(q *request) *metav1.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why := s.faults.broken[q.resource.Resource]; why != "" && q.Method == http.MethodGet {
		return status(http.StatusInternalServerError, metav1.StatusReasonInternalError, "Internal error occurred: %s", why)
	}
	if !s.faults.forbidden[q.resource.Resource] {
		return nil
	}
	st := status(http.StatusForbidden, metav1.StatusReasonForbidden, "%s is forbidden: User \"weir\" cannot list resource %q in API group %q at the cluster scope",
		q.resource.Resource, q.resource.Resource, q.resource.Group)
	st.Details = &metav1.StatusDetails{Group: q.resource.Group, Kind: q.resource.Resource}
	return st
}

// BlackHole is an address at which nothing answers, not even the kernel: a socket
// whose queue is full drops what asks for a connection. Close it after use.
func BlackHole() (addr string, closer func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		return "", nil, os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return "", nil, os.NewSyscallError("getsockname", err)
	}
	addr = fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	first, err := net.DialTimeout("tcp", addr, time.Second) // takes the only place
	if err != nil {
		return "", nil, err
	}
	return addr, func() { first.Close(); unix.Close(fd) }, nil
}
