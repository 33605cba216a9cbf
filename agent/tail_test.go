package agent

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
)

func TestTheLastMessagesAreRememberedInTheirOrder(t *testing.T) {
	last := &tail{}
	log := slog.New(tailed{slog.NewTextHandler(io.Discard, nil), last, nil})
	log.Debug("below the level")
	room := log.With("room", "host")
	for i := range linesKept + 5 {
		room.Warn("said", "n", i)
	}
	log.Info("last")
	got := last.all()
	if len(got) != linesKept || got[0].Attributes["n"] != "6" || got[linesKept-1].Message != "last" {
		t.Fatalf("%d messages, from %+v to %+v; want %d from 6 on", len(got), got[0], got[len(got)-1], linesKept)
	}
	if l := got[linesKept-2]; l.Attributes["room"] != "host" || l.Attributes["n"] != fmt.Sprint(linesKept+4) || l.Level != "WARN" || l.Time.IsZero() {
		t.Errorf("%+v", l)
	}
	if len(got[linesKept-1].Attributes) != 0 {
		t.Errorf("the attributes of another logger: %v", got[linesKept-1].Attributes)
	}
}
