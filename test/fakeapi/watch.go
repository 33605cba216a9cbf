package fakeapi

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// bookmarkEvery is how often a quiet watch learns which version it has reached.
const bookmarkEvery = time.Second

// stream is one watch under way.
type stream struct {
	*request
	w         http.ResponseWriter
	at        uint64 // the version reached
	bookmarks bool
	told      uint64 // by the last bookmark
	proto     bool   // in protobuf
	epoch     int    // of the server's history, see Restore
}

// watch tells changes until the client goes, its time is over, or its version is
// too old.
func (s *Server) watch(w http.ResponseWriter, q *request) {
	query := q.URL.Query()
	st := &stream{request: q, w: w, bookmarks: query.Get("allowWatchBookmarks") == "true", proto: s.takesProtobuf(q)}
	s.mu.Lock()
	st.epoch = s.faults.epoch
	initial, fault := s.begin(st)
	s.mu.Unlock()
	if fault != nil {
		refuse(w, fault)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if st.proto {
		w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf;stream=watch")
	}
	w.WriteHeader(http.StatusOK)
	for _, o := range initial {
		if st.send("ADDED", o) != nil {
			return
		}
	}
	if query.Get("sendInitialEvents") == "true" && st.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"}) != nil {
		return
	}
	var over <-chan time.Time
	if n, err := strconv.Atoi(query.Get("timeoutSeconds")); err == nil && n > 0 {
		over = time.After(time.Duration(n) * time.Second)
	}
	s.follow(st, over)
}

// begin decides where a watch starts, and returns what it is told first. The
// lock is held.
func (s *Server) begin(st *stream) ([]object, *metav1.Status) {
	query := st.URL.Query()
	asked, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64) // "" is 0: whatever there is
	streamed := query.Get("sendInitialEvents") == "true"
	if streamed && s.faults.noStream {
		return nil, status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
	}
	switch {
	case asked > s.version && streamed:
		return nil, tooLarge(asked, s.version)
	case asked > s.version: // as real servers do: nothing is told before that version is reached
		st.told = asked
	case streamed || asked == 0:
		st.at = s.version
		return s.snapshot(st.request), nil
	case asked < st.resource.horizon:
		return nil, gone(asked)
	}
	st.at = asked
	return nil, nil
}

func (s *Server) follow(st *stream, over <-chan time.Time) {
	flush := http.NewResponseController(st.w)
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	for {
		events, more, fault := s.since(st)
		if fault != nil {
			data, _ := json.Marshal(fault)           // it always encodes
			_ = st.send("ERROR", object{data: data}) // the watch ends either way
			return
		}
		if more == nil {
			return // the kind or the history is no more
		}
		for _, e := range events {
			if st.tell(e) != nil {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-tick.C:
			if st.bookmarks && st.told != st.at && st.bookmark(nil) != nil {
				return
			}
		case <-over:
			return
		case <-st.Context().Done():
			return
		}
	}
}

// since are the changes after the version reached, which becomes the newest, and
// what is closed with the next one: nil when the watch is over.
func (s *Server) since(st *stream) ([]event, <-chan struct{}, *metav1.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.resources[st.resource.path()]
	if r != st.resource || st.epoch != s.faults.epoch {
		return nil, nil, nil
	}
	if s.faults.silent {
		return nil, s.changed, nil
	}
	if st.at < r.horizon {
		return nil, nil, gone(st.at)
	}
	i, _ := slices.BinarySearchFunc(r.events, st.at+1, func(e event, v uint64) int {
		if e.version < v {
			return -1
		}
		return 1
	})
	events := slices.Clone(r.events[i:])
	if s.faults.shuffle {
		events = interleave(events)
	}
	if s.faults.duplicate {
		events = twice(events)
	}
	st.at = max(st.at, s.version)
	return events, s.changed, nil
}

// interleave puts the events of different objects into another order; those of
// one object keep theirs, as every server keeps it.
func interleave(events []event) []event {
	queues := map[string][]event{}
	var order []string
	for _, e := range events {
		queues[e.object.key] = append(queues[e.object.key], e)
		order = append(order, e.object.key)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	var out []event
	for _, key := range order {
		out = append(out, queues[key][0])
		queues[key] = queues[key][1:]
	}
	return out
}

// twice tells each event, and then again with the one before it: a client that
// takes an older version for news shows it.
func twice(events []event) []event {
	var out []event
	for i, e := range events {
		out = append(out, e, e)
		if i > 0 {
			out = append(out, events[i-1], e)
		}
	}
	return out
}

// tell sends an event as the watch's selectors see it.
func (st *stream) tell(e event) error {
	now, before := st.matches(e.object) && !e.deleted, st.matches(e.before)
	switch {
	case now && before:
		return st.send("MODIFIED", e.object)
	case now:
		return st.send("ADDED", e.object)
	case before:
		return st.send("DELETED", e.object)
	}
	return nil
}

func (st *stream) bookmark(annotations map[string]string) error {
	st.told = st.at
	data, err := json.Marshal(map[string]any{
		"kind": st.resource.Kind.Kind, "apiVersion": st.resource.groupVersion(),
		"metadata": map[string]any{"resourceVersion": strconv.FormatUint(st.at, 10), "annotations": annotations, "creationTimestamp": nil},
	})
	if err != nil {
		return err
	}
	if err := st.send("BOOKMARK", object{data: data}); err != nil {
		return err
	}
	return http.NewResponseController(st.w).Flush()
}

func (st *stream) send(what string, o object) error {
	if st.proto {
		if o.proto == nil {
			o.proto = toProtobuf(o.data)
		}
		return st.sendProtobuf(what, o.proto)
	}
	_, err := fmt.Fprintf(st.w, "{\"type\":%q,\"object\":%s}\n", what, o.data)
	return err
}
