package cli

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/api/agent"
)

var icmpType = uint8(8)

// told are events of each kind, as an agent streams them.
func told() lines {
	begin := agent.MonitorBegin{CPUs: 2, Pages: 1280, PageSize: 4096, Level: "medium"}
	syn := agent.Event{Time: now, Kind: "new", Reason: "Forwarded to endpoint", To: "endpoint", Place: "from_pod", Device: "weir0123456789a", Length: 74,
		State: "new", Flow: "0x1f00ab7c", Proto: "TCP", TCPFlags: "SYN", Source: "10.0.1.7:43210", SourceID: 15773, SourceName: "default/web", SourceEndpoint: 1,
		Dest: "10.0.1.9:5432", DestID: 20000, DestName: "default/db", DestEndpoint: 3, Asked: "10.96.0.20:5432",
		Egress: []string{"CiliumNetworkPolicy default/out"}, Ingress: []string{"NetworkPolicy default/db", "NetworkPolicy default/web"}}
	answer := agent.Event{Time: now, Kind: "going", Reason: "Forwarded to endpoint", To: "endpoint", Place: "from_pod", Device: "weir0123456789c", Length: 74,
		State: "reply", Flow: "0x1f00ab7c", Proto: "TCP", TCPFlags: "SYN,ACK", Source: "10.0.1.9:5432", SourceID: 20000, SourceName: "default/db", SourceEndpoint: 3,
		Dest: "10.0.1.7:43210", DestID: 15773, DestName: "default/web", DestEndpoint: 1, Asked: "10.96.0.20:5432"}
	out := agent.Event{Time: now, Kind: "new", Reason: "Forwarded to network", To: "network", Place: "from_pod", Device: "weir0123456789a", Length: 98,
		State: "new", Flow: "0x00c0ffee", Proto: "UDP", Source: "10.0.1.7:53535", SourceID: 15773, SourceName: "default/web", SourceEndpoint: 1,
		Dest: "203.0.113.5:53", DestID: 2, DestName: "reserved:world", Taken: "192.168.1.1:31007"}
	ping := agent.Event{Time: now, Kind: "packet", Reason: "Passed", To: "overlay", Place: "to_overlay", Device: "weir_vxlan", Length: 98,
		State: "unknown", Flow: "0x0000beef", Proto: "ICMP", ICMPType: &icmpType, Source: "10.0.1.7", SourceID: 15773, Dest: "10.0.2.9", DestID: 20000}
	arp := agent.Event{Time: now, Kind: "packet", Reason: "Delivered to host", To: "host", Place: "to_host", Device: "weir_host", Length: 60, State: "unknown", Proto: "EtherType 0x0806"}
	drop := agent.Event{Time: now, Kind: "drop", Reason: "Policy denied", To: "drop", Place: "from_pod", Device: "weir0123456789a", Length: 74, State: "unknown",
		Flow: "0x7700aa11", Proto: "TCP", TCPFlags: "SYN", Source: "10.0.1.7:43210", SourceID: 15773, Dest: "10.0.1.9:81", DestID: 20000, DestEndpoint: 3, Direction: "ingress"}
	all := lines{agent.MonitorLine{Begin: &begin}}
	for _, e := range []agent.Event{syn, answer, out, ping, arp, drop} {
		all = append(all, agent.MonitorLine{Event: &e})
	}
	return append(all, agent.MonitorLine{Lost: &agent.MonitorLoss{Unread: 12, Verdicts: 3}})
}

// watched runs `weir monitor` with args against an agent that gives one of replies for
// each time that it is asked, and interrupts it when there are no more.
func watched(t *testing.T, path string, replies []any, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	look := 0
	socket := fake{path: func(*http.Request) any { return replies[look] }}.serve(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, errs bytes.Buffer
	env := &Env{Stdout: &out, Stderr: &errs, Socket: socket, pause: func(context.Context, time.Duration) {
		if look++; look == len(replies) {
			look--
			interrupt()
		}
	}}
	code = Execute(ctx, Command(env), append([]string{"monitor"}, args...))
	return out.String(), errs.String(), code
}

func TestMonitorPrintsEventsAsCiliumsDoes(t *testing.T) {
	for name, c := range map[string]struct{ path, args string }{
		"monitor":         {agent.PathMonitor, ""},
		"monitor-verbose": {agent.PathMonitor, "-v"},
		"monitor-json":    {agent.PathMonitor, "-o json"},
		"monitor-filter":  {agent.PathMonitor + "?from=1&related=default%2Fweb&related=3&to=2&type=drop&type=new", "-t drop,new --from 1 --to 2 --related-to default/web --related-to 3"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := watched(t, c.path, []any{told()}, strings.Fields(c.args)...)
			want := "Listening for events on 2 CPUs with 1280x4096 of shared memory\nPress Ctrl-C to quit\n" +
				"weir: 12 events lost: this command does not read fast enough\nweir: 3 events lost: weir_events was full (bpf.eventsSize), or there were more drops than bpf.dropEventsLimit\n" +
				"weir: the agent went away; waiting for it\n"
			if code != 0 || stderr != want {
				t.Errorf("exit code %d, stderr %q, want 0 and %q", code, stderr, want)
			}
			golden(t, name, stdout)
		})
	}
}

func TestMonitorWaitsForAnAgentThatWasThere(t *testing.T) {
	only := lines{agent.MonitorLine{Begin: &agent.MonitorBegin{CPUs: 1, Pages: 1, PageSize: 4096, Level: "drops"}}, told()[6]}
	stdout, _, code := watched(t, agent.PathMonitor, []any{only, lines{}, lines{}, only}, "-t", "drop")
	if code == 0 || stdout != "" {
		t.Errorf("another path: exit code %d, %q", code, stdout)
	}
	stdout, stderr, code := watched(t, agent.PathMonitor+"?type=drop", []any{only, lines{}, lines{}, only}, "-t", "drop")
	if code != 0 || strings.Count(stdout, "xx drop") != 2 || strings.Count(stderr, "waiting for it") != 2 || strings.Count(stderr, "only drops are told of") != 2 {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestMonitorSaysWhatTheAgentRefuses(t *testing.T) {
	socket := fake{agent.PathMonitor + "?type=drp": &agent.Error{Message: `type "drp": known are drop`}}.serve(t)
	if _, stderr, code := weir(t, socket, "monitor", "--type", "drp"); code != 1 || !strings.Contains(stderr, `type "drp": known are`) {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
