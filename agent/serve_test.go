package agent

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	api "weir/api/agent"
	"weir/observe/metrics"
)

// Whoever asks for something long gives up on an agent that is silent, and waits for
// one that works. For metrics the answer counts, not what was said before it.
func TestALongRequestIsSaidToBeWorkedOn(t *testing.T) {
	const silence = 3 * time.Second
	rec := metrics.NewRecorder("cilium")
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.PathCNIAdd, handleLong(silence/30, func(_ context.Context, d time.Duration) (string, error) {
		time.Sleep(d)
		return "done", nil
	}))
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := server(rec.Requests(mux, api.PathCNI))
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	ctx, cancel := api.WhileWorking(t.Context(), silence, time.Minute)
	defer cancel()
	var reply string
	if err := api.NewClient(socket).Post(ctx, api.PathCNIAdd, silence*3/2, &reply); err != nil || reply != "done" {
		t.Errorf("%q, %v of an agent that worked for %s", reply, err, silence*3/2)
	}
	r := metrics.New("cilium")
	r.MustRegister(rec)
	text, err := r.Text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`return_code="200"`, `outcome="ok"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}
