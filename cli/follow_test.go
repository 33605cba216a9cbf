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

// followed runs `weir drops --follow` with args against an agent that gives one
// of replies for each look, and interrupts it after the last.
func followed(t *testing.T, replies []any, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	look := 0
	socket := fake{agent.PathDrops: func(*http.Request) any { return replies[look] }}.serve(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, errs bytes.Buffer
	env := &Env{Stdout: &out, Stderr: &errs, Socket: socket, pause: func(context.Context, time.Duration) {
		if look++; look == len(replies) {
			look--
			interrupt()
		}
	}}
	code = Execute(ctx, Command(env), append([]string{"drops", "--follow", "-o", "json"}, args...))
	return out.String(), errs.String(), code
}

// numbers are the drops printed, by their Seq.
func numbers(stdout string) string {
	var out []string
	for line := range strings.Lines(stdout) {
		n, _, _ := strings.Cut(strings.TrimPrefix(line, `{"seq":`), ",")
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

func numbered(seqs ...uint64) []agent.Drop {
	var out []agent.Drop
	for _, s := range seqs {
		pod := "default/even"
		if s%2 == 1 {
			pod = "default/odd"
		}
		out = append(out, agent.Drop{Seq: s, SourceName: pod})
	}
	return out
}

func TestFollowPrintsEachDropOnce(t *testing.T) {
	down := &agent.Error{Message: "busy"}
	cases := map[string]struct {
		replies      []any
		args         string
		want, stderr string
	}{
		"new ones":            {[]any{numbered(1, 2), numbered(1, 2), numbered(1, 2, 3)}, "", "1 2 3", ""},
		"only new ones":       {[]any{numbered(1, 2), numbered(1, 2, 3, 4)}, "--last 0", "3 4", ""},
		"some old ones":       {[]any{numbered(1, 2, 3), numbered(2, 3, 4)}, "--last 1", "3 4", ""},
		"from none":           {[]any{nil, nil, numbered(1)}, "", "1", ""},
		"of a pod":            {[]any{numbered(1, 2), numbered(1, 2, 3, 4)}, "--pod default/odd", "1 3", ""},
		"faster than read":    {[]any{numbered(1, 2), numbered(6, 7)}, "", "1 2 6 7", "weir: 3 drops came faster than they could be read\n"},
		"some left out":       {[]any{numbered(1, 2), numbered(1, 2, 4, 7)}, "", "1 2 4 7", "weir: 3 drops came faster than they could be read\n"},
		"agent restarted":     {[]any{numbered(8, 9), numbered(1, 2), numbered(1, 2, 3)}, "", "8 9 1 2 3", ""},
		"restarted, no drops": {[]any{numbered(8, 9), nil, numbered(1)}, "", "8 9 1", ""},
		"agent away, said once": {[]any{numbered(1), down, down, numbered(1, 2), down}, "", "1 2",
			"weir: busy; waiting for it\nweir: busy; waiting for it\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := followed(t, c.replies, strings.Fields(c.args)...)
			if got := numbers(stdout); got != c.want || stderr != c.stderr || code != 0 {
				t.Errorf("got %q, stderr %q, exit code %d; want %q, %q and 0", got, stderr, code, c.want, c.stderr)
			}
		})
	}
}
