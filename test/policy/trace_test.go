package policytest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/control/policy"
	"weir/source/convert"
	"weir/source/files"
	"weir/test/policy/generate"
	"weir/test/policy/oracle"
)

// What a trace says of some policies before they are applied is what is so when
// they are: of each packet, and of who becomes isolated.
func TestATraceSaysWhatApplyingDoes(t *testing.T) {
	cases := number(t, envTriples, triples()) / 100
	seed := number(t, envSeed, uint64(time.Now().UnixNano())>>16)
	dir := scratch(t)
	for i := range cases {
		if text := traced(t, dir, seed+i); text != "" {
			t.Fatalf("%s=%d %s=100: %s", envSeed, seed+i, envTriples, text)
		}
	}
}

// traced applies a case without its last policies, traces these, applies them.
func traced(t *testing.T, dir string, seed uint64) string {
	t.Helper()
	c := generate.Random(seed, perCase)
	before, more := c, generate.Case{}
	last := len(c.Objects) - 1 - int(seed%2)
	for last > 0 && !strings.HasSuffix(c.Objects[last]["kind"].(string), "Policy") {
		last++
	}
	before.Objects, more.Objects = c.Objects[:last], c.Objects[last:]
	a, err := newAgent(dir, c.Settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.apply(before.ObjectsYAML()); err != nil {
		return err.Error()
	}
	rows, problems := files.Policies("more", more.ObjectsYAML(), convert.Scope{Cluster: c.Settings.Cluster, LocalNode: c.Settings.Node, CIDRMatchMode: c.Settings.CIDRMatch})
	if len(problems) > 0 {
		return fmt.Sprint(problems)
	}
	trace, ok := a.policy.Trace(rows, nil)
	if !ok {
		return "nothing is in force"
	}
	now, then, err := a.answers(c.Packets, trace.Now, trace.Then)
	if err != nil {
		return err.Error()
	}
	was, _, err := a.answers(c.Packets, a.policy.Explain, a.policy.Explain)
	if err != nil {
		return err.Error()
	}
	if err := a.apply(c.ObjectsYAML()); err != nil {
		return err.Error()
	}
	is, _, err := a.answers(c.Packets, a.policy.Explain, a.policy.Explain)
	if err != nil {
		return err.Error()
	}
	for i, p := range c.Packets {
		if now[i] != was[i] || then[i] != is[i] {
			return fmt.Sprintf("%+v: traced %s, then %s; it is %s, then %s\n%s\n# traced:\n%s", p, now[i], then[i], was[i], is[i], before, more.ObjectsYAML())
		}
	}
	return ""
}

// answers are what two readers say about packets.
func (a *agent) answers(packets []oracle.Packet, one, two func(policy.Query) policy.Answer) (x, y []string, err error) {
	m, err := a.maps()
	if err != nil {
		return nil, nil, err
	}
	text := func(a policy.Answer) string {
		return fmt.Sprintf("%v %v/%v", a.Allowed, a.Egress.Enforced, a.Ingress.Enforced)
	}
	for _, p := range packets {
		q := m.query(p)
		x, y = append(x, text(one(q))), append(y, text(two(q)))
	}
	return x, y, nil
}
