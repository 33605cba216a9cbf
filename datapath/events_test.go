package datapath

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"weir/bpf"
)

// told are two rings, and for each a program that writes an event of the present time
// into it.
type told struct {
	Events
	say    [2]*ebpf.Program // verdicts, traces
	answer *ebpf.Program
}

func tellers(t testing.TB, octets uint32) *told {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make maps and programs")
	}
	var out told
	for i, r := range []**ring[bpf.Event]{&out.verdicts, &out.traces} {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: octets})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		if *r, err = openRing[bpf.Event](m); err != nil {
			t.Fatal(err)
		}
		out.say[i] = teller(t, m, bpf.EventKind(i+1), int32(unsafe.Sizeof(bpf.Event{})))
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: octets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if out.answers, err = openRing[bpf.DNSAnswer](m); err != nil {
		t.Fatal(err)
	}
	out.answer = answerer(t, m)
	t.Cleanup(out.Close)
	return &out
}

// teller is a program that writes a record of that size, which begins as an event of
// the present time and that kind.
func teller(t testing.TB, m *ebpf.Map, kind bpf.EventKind, size int32) *ebpf.Program {
	t.Helper()
	const at = -128
	code := asm.Instructions{asm.FnKtimeGetNs.Call(), asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord), asm.Mov.Imm(asm.R0, 0)}
	for off := int16(at + 8); off < 0; off += 8 {
		code = append(code, asm.StoreMem(asm.RFP, off, asm.R0, asm.DWord))
	}
	code = append(code,
		asm.Mov.Imm(asm.R0, int32(kind)), asm.StoreMem(asm.RFP, at+int16(unsafe.Offsetof(bpf.Event{}.Kind)), asm.R0, asm.Byte),
		asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, at),
		asm.Mov.Imm(asm.R3, size), asm.Mov.Imm(asm.R4, unix.BPF_RB_NO_WAKEUP),
		asm.FnRingbufOutput.Call(), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: code, License: "Dual BSD/GPL"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// tell runs a program that many times.
func tell(t testing.TB, p *ebpf.Program, times int) {
	t.Helper()
	if times == 0 {
		return
	}
	if _, err := p.Run(&ebpf.RunOptions{Data: make([]byte, 14), Repeat: uint32(times)}); err != nil {
		t.Fatal(err)
	}
}

// answerer is a program that writes an answer of the present time. Its record is too
// large for a program's stack.
func answerer(t testing.TB, m *ebpf.Map) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Imm(asm.R2, int32(unsafe.Sizeof(bpf.DNSAnswer{}))), asm.Mov.Imm(asm.R3, 0), asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, "full"), asm.Mov.Reg(asm.R6, asm.R0),
		asm.FnKtimeGetNs.Call(), asm.StoreMem(asm.R6, 0, asm.R0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, unix.BPF_RB_NO_WAKEUP), asm.FnRingbufSubmit.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("full"), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Who hears of an address before a packet goes there can name it.
func TestAnswersComeBeforeWhatFollowsThem(t *testing.T) {
	o := tellers(t, 4096)
	for round := range 30 { // many times around: there is room for 6 answers
		var got string
		tell(t, o.say[0], 1)
		tell(t, o.answer, 2)
		tell(t, o.say[1], 1)
		tell(t, o.answer, 1)
		tell(t, o.say[0], 1)
		tell(t, o.answer, 1+round%2)
		last := uint64(0)
		note := func(what string, at uint64) {
			got += what
			if at < last {
				t.Errorf("%s of %d after %d", what, at, last)
			}
			last = at
		}
		o.Drain(Reader{Event: func(e *bpf.Event) { note("e", e.Time) }, Answer: func(a *bpf.DNSAnswer) { note("a", a.Time) }})
		if want := []string{"eaaeaea", "eaaeaeaa"}[round%2]; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}

// drained are the kinds of all that is there, and whether they come in the order of
// time.
func (o *told) drained(t *testing.T) (kinds []bpf.EventKind) {
	t.Helper()
	last := uint64(0)
	n := o.Drain(Reader{Event: func(e *bpf.Event) {
		kinds = append(kinds, bpf.EventKind(e.Kind))
		if e.Time < last {
			t.Errorf("an event of %d after one of %d", e.Time, last)
		}
		last = e.Time
	}})
	if n != len(kinds) {
		t.Errorf("%d events said, %d seen", n, len(kinds))
	}
	return kinds
}

func TestEventsOfBothLanesComeOnceInTheOrderOfTime(t *testing.T) {
	o := tellers(t, 4096)
	for round := range 100 { // many times around: a lane has room for 30
		tell(t, o.say[0], 1+round%3)
		tell(t, o.say[1], round%20)
		tell(t, o.say[0], 2)
		want := slices.Concat(slices.Repeat([]bpf.EventKind{1}, 1+round%3), slices.Repeat([]bpf.EventKind{2}, round%20), []bpf.EventKind{1, 1})
		if got := o.drained(t); !slices.Equal(got, want) {
			t.Fatalf("round %d: got %v, want %v", round, got, want)
		}
		if got := o.drained(t); got != nil {
			t.Fatalf("round %d: %v once more", round, got)
		}
	}
}

func TestFullLaneTakesNoRoomOfTheOther(t *testing.T) {
	o := tellers(t, 4096)
	const room = 4096 / (128 + 8)
	tell(t, o.say[1], 1000)
	tell(t, o.say[0], 3)
	got := o.drained(t)
	if verdicts := slices.Repeat([]bpf.EventKind{1}, 3); len(got) != room+3 || !slices.Equal(got[room:], verdicts) {
		t.Errorf("got %v, want %d traces and then 3 verdicts", got, room)
	}
}

func TestNextReaderGoesOnWhereTheLastOneWas(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make maps and programs")
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	say := teller(t, m, bpf.EventDrop, int32(unsafe.Sizeof(bpf.Event{})))
	for range 50 {
		tell(t, say, 3)
		r, err := openRing[bpf.Event](m)
		if err != nil {
			t.Fatal(err)
		}
		for left := 3; left > 0; left-- {
			if r.peek(r.end()) == nil {
				t.Fatalf("%d events are missing", left)
			}
			r.next()
		}
		if e := r.peek(r.end()); e != nil {
			t.Fatalf("one too many: %+v", e)
		}
		r.close()
	}
}

// Programs of another version may have left events of another size.
func TestWhatIsNoEventIsPassedOver(t *testing.T) {
	o := tellers(t, 4096)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o.verdicts.close()
	if o.verdicts, err = openRing[bpf.Event](m); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int32{8, 104, 128, 12, 128} {
		tell(t, teller(t, m, bpf.EventDrop, size), 1)
	}
	if got := o.drained(t); len(got) != 2 || o.Foreign() != 3 {
		t.Errorf("%d events and %d others, want 2 and 3", len(got), o.Foreign())
	}
}

// What is being written is waited for; what was given up is not.
func TestRecordThatIsNotReadyHoldsBackWhatFollows(t *testing.T) {
	const record = recordHeader + 128
	samples := make([]byte, 4096)
	header := func(n int) *uint32 { return (*uint32)(unsafe.Pointer(&samples[n*record])) }
	var consumer, producer uint64
	r := &ring[bpf.Event]{consumer: &consumer, producer: &producer, samples: samples, mask: 4095}
	*header(0), *header(1), *header(2) = 128|recordDrop, 128, 128|recordBusy
	producer = 3 * record
	if r.peek(r.end()) == nil || r.at != record {
		t.Errorf("at %d, want the second record", r.at)
	}
	r.next()
	if e := r.peek(r.end()); e != nil || consumer != 2*record {
		t.Errorf("event %v, consumer at %d: want to wait at the third record", e, consumer)
	}
	*header(2) = 128
	if r.peek(r.end()) == nil {
		t.Error("the third record is ready, and not seen")
	}
}

func TestReadEventsEndsWithItsContext(t *testing.T) {
	d := start(t, small(bpffs(t), AttachAuto))
	ctx, cancel := context.WithCancel(t.Context())
	say := teller(t, d.maps.maps[bpf.MapTraces], bpf.EventGoing, int32(unsafe.Sizeof(bpf.Event{})))
	tell(t, say, 5)
	seen := 0
	err := d.ReadEvents(ctx, Reader{Event: func(e *bpf.Event) {
		if seen++; seen == 5 {
			cancel()
		}
	}})
	if err != nil || seen != 5 {
		t.Errorf("%d events, %v", seen, err)
	}
}

// At a constant rate the wait settles where a lane is neither nearly empty nor full.
func TestReaderLooksTheMoreOftenTheMoreThereIs(t *testing.T) {
	const room = 4 << 20 / (128 + 8)                      // events
	for rate, want := range map[float64][2]time.Duration{ // events a second
		0: {lookRarely, lookRarely}, 4000: {lookRarely, lookRarely}, 150e3: {10 * time.Millisecond, lookRarely / 2},
		500e3: {lookOften, 10 * time.Millisecond}, 5e6: {lookOften, lookOften}} {
		wait, fullest := lookRarely, 0.
		for i := range 20 {
			full := rate * wait.Seconds() / room
			if i > 5 {
				fullest = max(fullest, full)
			}
			wait = nextLook(wait, full)
		}
		if wait < want[0] || wait > want[1] || fullest > 1 {
			t.Errorf("%.0f events a second: waits %s with a lane %.0f %% full, want %s to %s", rate, wait, 100*fullest, want[0], want[1])
		}
	}
}

// How many events a core reads and decodes in a second: the callback reads what a
// consumer would look at first.
func BenchmarkDrain(b *testing.B) {
	o := tellers(b, 4<<20)
	const batch = 15000
	var sum uint64
	see := func(e *bpf.Event) { sum += uint64(e.Kind) + uint64(e.SrcIdentity) + uint64(e.Dst.W[3]) }
	b.ReportAllocs()
	for done := 0; done < b.N; {
		b.StopTimer()
		tell(b, o.say[0], batch)
		tell(b, o.say[1], batch)
		b.StartTimer()
		n := o.Drain(Reader{Event: see})
		done += n
		if n < 2*batch { // more when a signal interrupts a run, which is made again
			b.Fatalf("%d events, want %d", n, 2*batch)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// What reading costs at a rate, in hundredths of a core, and with nothing to read.
func BenchmarkReading(b *testing.B) {
	for name, rate := range map[string]int{"idle": 0, "4000-a-second": 4000, "150000-a-second": 150000} {
		b.Run(name, func(b *testing.B) {
			o := tellers(b, 4<<20)
			const wait = lookRarely
			var spent, total time.Duration
			n := 0
			for b.Loop() {
				tell(b, o.say[1], rate*int(wait)/int(time.Second))
				before, from := cpuTime(b), time.Now()
				time.Sleep(wait)
				n += o.Drain(Reader{Event: func(*bpf.Event) {}})
				spent += cpuTime(b) - before
				total += time.Since(from)
			}
			if want := b.N * rate * int(wait) / int(time.Second); n < want {
				b.Fatalf("%d events, want %d", n, want)
			}
			b.ReportMetric(100*spent.Seconds()/total.Seconds(), "%core")
		})
	}
}

// cpuTime is that of all threads: to wait costs more than the one that waits.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
