package run

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"weir/api/observer"
	"weir/api/wire"
	"weir/internal/goldentest"
	"weir/relay"
)

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// scrape is what an address answers once it does.
func scrape(t *testing.T, address string) string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		reply, err := http.Get("http://" + address + "/metrics")
		if err != nil && time.Now().Before(end) {
			continue
		}
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", reply, err)
		}
		defer reply.Body.Close()
		text, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// TestARelayTellsPrometheusHowItDoes compares all of it with testdata/metrics.txt.
func TestARelayTellsPrometheusHowItDoes(t *testing.T) {
	clients, prometheus := free(t), free(t)
	c, err := Parse([]string{"--disable-client-tls", "--disable-server-tls", "--listen-address=" + clients, "--health-address=", "--metrics-address=" + prometheus, "--peer-service=unix:///nowhere"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, slog.New(slog.DiscardHandler), c) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if before, want := scrape(t, prometheus), `grpc_server_handled_total{grpc_code="OK",grpc_method="GetFlows",grpc_service="observer.Observer",grpc_type="server_stream"} 0`; !strings.Contains(before, want+"\n") {
		t.Errorf("before the first request there is no %s: its increase would not be seen", want)
	}
	conn, err := wire.Dial(clients, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	asking := observer.NewObserverClient(conn)
	if _, err := asking.ServerStatus(t.Context(), &observer.ServerStatusRequest{}); err != nil {
		t.Fatal(err)
	}
	refused, err := asking.GetAgentEvents(t.Context(), &observer.GetAgentEventsRequest{})
	if err == nil {
		_, err = refused.Recv()
	}
	if err == nil {
		t.Fatal("a relay tells what agents do")
	}
	text := scrape(t, prometheus)
	if want := `grpc_server_handled_total{grpc_code="Unimplemented",grpc_method="GetAgentEvents",grpc_service="observer.Observer",grpc_type="server_stream"} 1`; !strings.Contains(text, want+"\n") {
		t.Errorf("lacks %s", want)
	}
	golden(t, steady(text))
}

func golden(t *testing.T, got string) {
	t.Helper()
	goldentest.Compare(t, "metrics.txt", got)
	for _, f := range relayFamilies {
		if !regexp.MustCompile(`(?m)^` + f.Name + `[ {]`).MatchString(got) {
			t.Errorf("%s has no sample", f.Name)
		}
	}
}

// steady leaves out what Go's own metrics say and requests but one, and the values of
// what takes time and of the process's.
func steady(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		request := strings.HasPrefix(line, "grpc_")
		switch {
		case regexp.MustCompile(`^(# \w+ )?go_`).MatchString(line):
		case request && (!strings.Contains(line, `grpc_method="ServerStatus"`) || strings.Contains(line, "grpc_code") && !strings.Contains(line, `grpc_code="OK"`)):
		default:
			out.WriteString(regexp.MustCompile(`^(process_\w+|grpc_server_handling_seconds_(?:bucket|sum).*}) .*`).ReplaceAllString(line, "$1 0"))
		}
	}
	return out.String()
}

func TestNamesAndLabelsAreAsPrometheusWantsThem(t *testing.T) {
	m := newMeasures(relay.New(slog.New(slog.DiscardHandler), relay.Options{}))
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, err %v", problems, err)
	}
}

func TestMetricsAreNowhereUnlessWanted(t *testing.T) {
	plain := []string{"--disable-client-tls", "--disable-server-tls"}
	if c, err := Parse(plain, io.Discard); err != nil || c.Metrics != "" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Parse(append(plain, "--metrics-address=9966"), io.Discard); err == nil || !strings.Contains(err.Error(), `--metrics-address "9966" is not an address with a port: write :9966`) {
		t.Errorf("%v", err)
	}
}
