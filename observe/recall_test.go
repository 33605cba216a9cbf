package observe

import (
	"testing"
	"time"

	"weir/bpf"
	"weir/state"
)

func recall(o *Observer, since time.Time) (out []Recalled, past Recollection) {
	past = o.Recall(since, func(r Recalled) { out = append(out, r) })
	return out, past
}

func TestRecallTellsConnectionsAsFromWhoOpenedThem(t *testing.T) {
	o := newObserver(t, 100)
	before := time.Now().Add(-time.Second)
	o.Add(packet(judgedBy(ruleEgress, ruleIngress))) // three records, one packet
	o.Add(packet(answer))
	o.Add(packet(func(e *bpf.Event) { e.Kind = uint8(bpf.EventPacket) })) // whose it is was not looked up
	o.Add(packet(dropped(bpf.DropFIB)))
	o.Add(packet(dropped(bpf.DropPolicyDeny), judgedBy(0, ruleDeny), func(e *bpf.Event) { e.Direction, e.Endpoint = 1, webID }))
	o.Lost(5)
	got, past := recall(o, before)
	if len(got) != 3 || past.Lost != 5 || past.Apart != 1 || !past.Reaches.Equal(o.started) {
		t.Fatalf("recalled %+v, past %+v", got, past)
	}
	for i, r := range got {
		if r.From.Addr != addr("10.0.0.5") || r.To.Addr != addr("10.0.0.7") || r.FromPort != 43210 || r.Port != 8080 || r.Denied != (i == 2) {
			t.Errorf("%d: %+v", i, r)
		}
		if r.From.Endpoint != clientID || r.To.Identity != 1002 || r.To.Pod.Name != "web" || r.To.Workload != (state.Workload{Kind: "Deployment", Name: "web"}) {
			t.Errorf("%d: ends %+v, %+v", i, r.From, r.To)
		}
	}
	if got, _ := recall(o, time.Now().Add(time.Minute)); len(got) != 0 {
		t.Errorf("since later: %+v", got)
	}
}

func TestRecallTakesAnEchoReplyForItsRequest(t *testing.T) {
	for proto, want := range map[uint8]uint16{protoICMP: 8, protoICMPv6: 128} {
		o := newObserver(t, 10)
		o.Add(packet(answer, func(e *bpf.Event) { e.Proto, e.Dport = proto, 0 }))
		got, _ := recall(o, o.started.Add(-time.Second))
		if len(got) != 1 || got[0].Port != want || got[0].FromPort != 0 || got[0].From.Endpoint != clientID {
			t.Errorf("protocol %d: %+v, want type %d", proto, got, want)
		}
	}
}

func TestRecallSaysHowFarBackItReaches(t *testing.T) {
	const size = 2*readAtOnce + 3
	o := newObserver(t, size)
	for i := range size + 7 {
		o.Add(packet(func(e *bpf.Event) { e.Sport = bpf.Network(uint16(1000 + i)) }))
	}
	got, past := recall(o, o.started.Add(-time.Hour))
	if len(got) != size || got[0].FromPort != 1007 || !past.Reaches.Equal(got[0].When) {
		t.Errorf("%d flows, past %+v", len(got), past)
	}
	if last := got[len(got)-1]; last.FromPort != 1000+size+6 {
		t.Errorf("the last is %+v", last)
	}
}
