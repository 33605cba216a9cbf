package cni

import (
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"weir/api/agent"
)

// drain returns the containers of the delete queue, and empties it.
func (f *fake) drain(t *testing.T) []string {
	t.Helper()
	var got []string
	if _, err := agent.DrainDeletes(f.queue(), func(a agent.Attachment) error {
		got = append(got, a.ContainerID+"/"+a.Interface)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func TestEveryVerbAnswersWhileTheAgentIsDown(t *testing.T) {
	prev := map[string]any{"prevResult": map[string]any{"cniVersion": "1.1.0"}}
	for verb, code := range map[string]uint{"ADD": 11, "CHECK": 11, "GC": 11, "STATUS": 50, "DEL": 0, "VERSION": 0} {
		f := newFake(t)
		r := run{verb: verb}
		switch verb {
		case "CHECK":
			r.conf = prev
		case "GC":
			r.conf = map[string]any{keyValid: nil}
		}
		got := f.run(t, r)
		got.want(t, code, "weir-agent does not answer")
		if got.took > 5*time.Second {
			t.Errorf("%s took %v", verb, got.took)
		}
		if queued := f.drain(t); verb == "DEL" && !slices.Equal(queued, []string{"c1/eth0"}) || verb != "DEL" && queued != nil {
			t.Errorf("%s queued %v", verb, queued)
		}
	}
}

// A socket whose listener is never served accepts connections and says
// nothing: what a stopped or deadlocked agent looks like.
func TestEveryVerbEndsInTimeWhenTheAgentHangs(t *testing.T) {
	for verb, code := range map[string]uint{"ADD": 11, "STATUS": 50, "DEL": 0} {
		f := newFake(t)
		f.listen(t)
		got := f.run(t, run{verb: verb, limit: "500ms"})
		got.want(t, code, "deadline")
		if got.took > 2*time.Second {
			t.Errorf("%s took %v with a limit of 500ms", verb, got.took)
		}
		if queued := f.drain(t); verb == "DEL" && len(queued) != 1 {
			t.Errorf("DEL queued %v", queued)
		}
	}
}

// A node has much to do, and an agent that says so is waited for.
func TestAnAgentThatSaysItIsWorkingIsWaitedFor(t *testing.T) {
	f := newFake(t)
	f.worksFor = 1500 * time.Millisecond
	got := f.start(t).run(t, run{verb: "ADD", limit: "500ms"})
	got.want(t, 0, "")
	if got.took < f.worksFor {
		t.Errorf("ADD took %v, the agent %v", got.took, f.worksFor)
	}
}

func TestAnAgentThatWorksForEverIsNotWaitedForForEver(t *testing.T) {
	f := newFake(t)
	f.worksFor = 10 * time.Second
	got := f.start(t).run(t, run{verb: "ADD", limit: "500ms"})
	got.want(t, 11, "deadline")
	if got.took < 2*time.Second || got.took > 8*time.Second {
		t.Errorf("ADD took %v, with two seconds for an agent that works", got.took)
	}
}

func TestHalfAnAnswerIsNoAnswer(t *testing.T) {
	for verb, code := range map[string]uint{"ADD": 11, "DEL": 0} {
		f := newFake(t)
		l := f.listen(t)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go half(c)
			}
		}()
		f.run(t, run{verb: verb, limit: "1s"}).want(t, code, "")
	}
}

func half(c net.Conn) {
	defer c.Close()
	c.Read(make([]byte, 4096))
	io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
}

func TestDelIsNotQueuedWhenTheAgentRefuses(t *testing.T) {
	f := newFake(t).start(t)
	f.answers[agent.PathCNIDel] = &agent.Error{Code: agent.CodeInternal, Message: "device busy"}
	f.run(t, run{verb: "DEL"}).want(t, 999, "device busy")
	if queued := f.drain(t); queued != nil {
		t.Errorf("queued %v", queued)
	}
}

func TestDelTriesAgainLaterWhenItCannotBeQueued(t *testing.T) {
	f := newFake(t)
	f.run(t, run{verb: "DEL", conf: map[string]any{"runDir": "/dev/null"}}).want(t, 11, "delete queue")
}

func TestAddTakesItsPredecessorOutOfTheQueue(t *testing.T) {
	f := newFake(t)
	f.run(t, run{verb: "DEL"}).want(t, 0, "")
	f.start(t).run(t, run{verb: "ADD"}).want(t, 0, "")
	if queued := f.drain(t); queued != nil {
		t.Errorf("the queue still has %v, which is in use again", queued)
	}
}

// Pods go while the agent starts: it listens, then drains. Each DEL must have
// reached it by one way or the other.
func TestNoDelIsLostWhileTheAgentStarts(t *testing.T) {
	const pods = 24
	f := newFake(t)
	var calls sync.WaitGroup
	for i := range pods {
		calls.Go(func() {
			f.run(t, run{verb: "DEL", env: map[string]string{"CNI_CONTAINERID": fmt.Sprintf("c%d", i)}}).want(t, 0, "")
			if i == pods/4 {
				f.start(t)
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, c := range f.drain(t) {
					f.requests[agent.PathCNIDel] = append(f.requests[agent.PathCNIDel], []byte(c))
				}
			}
		})
	}
	calls.Wait()
	if got := len(f.requests[agent.PathCNIDel]); got < pods {
		t.Errorf("%d of %d deletes arrived", got, pods)
	}
	if left := f.drain(t); left != nil {
		t.Errorf("%v were queued after the agent had drained", left)
	}
}
