package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weir/bpf"
	"weir/datapath/link"
	"weir/state"
)

// sockets is the kernel's part of Ending: it notes what is asked of it.
type sockets struct {
	users   []bpf.SocketUser
	full    bool
	refuses error
	missing string // a path that leads nowhere
	walked  []string
	reads   int
}

const ownNetns = 1

func (s *sockets) Own() uint64 { return ownNetns }

func (s *sockets) Users() ([]bpf.SocketUser, bool, error) {
	s.reads++
	return slices.Clone(s.users), !s.full, nil
}

func (s *sockets) Forget(users []bpf.SocketUser) error {
	s.users = slices.DeleteFunc(s.users, func(u bpf.SocketUser) bool { return slices.Contains(users, u) })
	return nil
}

func (s *sockets) End(netns uint64, path string) (int, error) {
	s.walked = append(s.walked, fmt.Sprint(netns, " ", path))
	if path == s.missing {
		return 0, link.ErrNoNetns
	}
	return 1, s.refuses
}

// walks returns where sockets were looked at since it was asked last.
func (s *sockets) walks() string {
	defer func() { s.walked = nil }()
	slices.Sort(s.walked)
	return fmt.Sprint(s.walked)
}

// pods are endpoints whose namespaces have the numbers 2 and 3. The namespace 4 is
// one of processes that are no pod's.
func pods(tables *state.Tables) {
	tables.Endpoints.Put(state.Endpoint{ID: 1, Netns: "/ns/2", NetnsCookie: 2}, state.Endpoint{ID: 2, Netns: "/ns/3", NetnsCookie: 3}, state.Endpoint{ID: 3, Recovered: true})
}

func others() map[uint64]string { return map[uint64]string{2: "/proc/20", 4: "/proc/40"} }

// Namespaces are looked through in which a socket may have a backend that is gone,
// and no others; and once.
func TestOnlyNamespacesThatUsedABackendThatIsGoneAreLookedThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, tables := newKernel(t), state.New()
		tables.Services.Put(simple("a", "10.96.0.1"))
		tables.Slices.Put(of("a", "10.0.0.1", "10.0.0.2"))
		pods(tables)
		c := k.control(Options{IPv4: true}, tables)
		step(t, c)
		rows, _ := k.backends.Load()
		user := func(netns uint64, row uint32) bpf.SocketUser {
			return bpf.SocketUser{Netns: netns, BackendRow: row, Generation: rows[row].Generation}
		}
		s := &sockets{missing: "nowhere", users: []bpf.SocketUser{user(ownNetns, 1), user(2, 1), user(2, 2), user(3, 2), user(4, 1), user(5, 2)}}
		e := c.Ending(s)
		e.find = others
		look := func(want string) {
			t.Helper()
			if err := e.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.walks(); got != want {
				t.Errorf("looked through %s, want %s", got, want)
			}
		}
		look("[]")
		if slices.Contains(s.users, user(5, 2)) {
			t.Error("a namespace that is gone is still noted")
		}
		tables.Slices.Put(of("a", "10.0.0.2"))
		step(t, c)
		look("[1  2 /ns/2 4 /proc/40]")
		look("[]")
		if want := []bpf.SocketUser{user(2, 2), user(3, 2)}; !slices.Equal(s.users, want) {
			t.Errorf("noted are %v, want %v", s.users, want)
		}
		s.full = true // somebody could not be noted
		look("[1  2 /ns/2 3 /ns/3 4 /proc/40]")
	})
}

// Who could not be looked at is looked at again.
func TestANamespaceThatCannotBeLookedThroughIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, tables := newKernel(t), state.New()
		pods(tables)
		c := k.control(Options{IPv4: true}, tables)
		s := &sockets{users: []bpf.SocketUser{{Netns: 2, BackendRow: 9, Generation: 1}}, missing: "nowhere", refuses: errors.New("it is not there")}
		e := c.Ending(s)
		if err := e.Step(t.Context()); !errors.Is(err, s.refuses) {
			t.Errorf("it says %v", err)
		}
		s.refuses = nil
		if err := e.Step(t.Context()); err != nil || len(s.users) > 0 {
			t.Errorf("%v, noted are %v", err, s.users)
		}
		s.walks()
		e.find, s.missing = others, "/ns/2"
		s.users = []bpf.SocketUser{{Netns: 2, BackendRow: 9, Generation: 1}}
		if err := e.Step(t.Context()); err != nil || len(s.users) > 0 || s.walks() != "[2 /ns/2 2 /proc/20]" {
			t.Errorf("another way to it: %v, noted are %v", err, s.users)
		}
		s.missing = "/ns/3"
		s.users = []bpf.SocketUser{{Netns: 3, BackendRow: 9, Generation: 1}}
		if err := e.Step(t.Context()); err != nil || len(s.users) > 0 {
			t.Errorf("no way to it: %v, noted are %v", err, s.users)
		}
	})
}

// Sockets are looked at when the maps are current, for what has gone while no agent
// ran, and then when backends go; those that go together are one look.
func TestSocketsAreLookedAtWhenBackendsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, tables := newKernel(t), state.New()
		tables.Services.Put(simple("a", "10.96.0.1"))
		var all []string
		for i := range 100 {
			all = append(all, fmt.Sprint("10.0.0.", 1+i))
		}
		tables.Slices.Put(of("a", all...))
		c := k.control(Options{IPv4: true}, tables)
		s := &sockets{}
		e := c.Ending(s)
		e.find = others
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		reads := func(when string, least, most int) {
			t.Helper()
			time.Sleep(endDelay * 10)
			if synctest.Wait(); s.reads < least || s.reads > most {
				t.Errorf("%s: %d looks, want %d to %d", when, s.reads, least, most)
			}
			s.reads = 0
		}
		reads("the maps are not current", 0, 0)
		step(t, c)
		reads("they are", 1, 1)
		tables.Slices.Put(of("a", append(all, "10.0.1.1")...))
		step(t, c)
		reads("a backend came", 0, 0)
		for i := range all {
			tables.Slices.Put(of("a", all[i:]...))
			step(t, c)
		}
		reads("a hundred went", 1, 2)
		time.Sleep(tidyEvery)
		reads("in the course of time", 1, 1)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
