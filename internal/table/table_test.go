package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type fruit struct{ name, colour string }

func (f fruit) Columns() []string { return []string{f.name, f.colour} }

func same(a, b fruit) bool { return a == b }

func newFruits(rows ...fruit) *Table[string, fruit] {
	t := New("fruits", func(f fruit) string { return f.name })
	if len(rows) > 0 {
		t.Put(rows...)
	}
	return t
}

// changes renders Changes: "+apple red" for a row, "-apple" for a deletion.
func changes(t *Table[string, fruit], since uint64) (out []string, rev uint64, whole bool) {
	list, rev, whole := t.Changes(since)
	for _, c := range list {
		if c.Deleted {
			out = append(out, "-"+c.Key)
		} else {
			out = append(out, "+"+strings.Join(c.Row.Columns(), " "))
		}
	}
	slices.Sort(out)
	return out, rev, whole
}

func TestChangesAreWhatHappenedSince(t *testing.T) {
	tab := newFruits(fruit{"apple", "red"}, fruit{"pear", "green"})
	got, rev, whole := changes(tab, 0)
	if diff := cmp.Diff([]string{"+apple red", "+pear green"}, got); diff != "" || !whole {
		t.Errorf("from 0: whole %v (-want +got):\n%s", whole, diff)
	}
	if got, _, whole := changes(tab, rev); len(got) != 0 || whole {
		t.Errorf("nothing happened, got %v, whole %v", got, whole)
	}
	tab.Put(fruit{"apple", "green"})
	tab.Delete("pear", "never there")
	tab.Put(fruit{"plum", "blue"})
	tab.Delete("plum")
	got, _, whole = changes(tab, rev)
	if diff := cmp.Diff([]string{"+apple green", "-pear", "-plum"}, got); diff != "" || whole {
		t.Errorf("whole %v (-want +got):\n%s", whole, diff)
	}
}

func TestARowThatComesBackIsNotDeleted(t *testing.T) {
	tab := newFruits(fruit{"apple", "red"})
	_, rev, _ := tab.Changes(0)
	tab.Delete("apple")
	tab.Put(fruit{"apple", "red"})
	if got, _, _ := changes(tab, rev); !slices.Equal(got, []string{"+apple red"}) {
		t.Errorf("got %v, want +apple red", got)
	}
}

func TestReplaceTouchesOnlyWhatDiffers(t *testing.T) {
	tab := newFruits(fruit{"apple", "red"}, fruit{"pear", "green"}, fruit{"fig", "purple"})
	_, rev, _ := tab.Changes(0)
	tab.Replace([]fruit{{"apple", "red"}, {"pear", "brown"}, {"kiwi", "green"}}, same)
	got, _, whole := changes(tab, rev)
	if diff := cmp.Diff([]string{"+kiwi green", "+pear brown", "-fig"}, got); diff != "" || whole {
		t.Errorf("whole %v (-want +got):\n%s", whole, diff)
	}
}

func TestForgottenChangesAreToldAsAWhole(t *testing.T) {
	tab := newFruits(fruit{"stays", "red"})
	_, rev, _ := tab.Changes(0)
	for i := range keep + 1 {
		tab.Put(fruit{name: fmt.Sprint(i)})
		tab.Delete(fmt.Sprint(i))
	}
	got, rev, whole := changes(tab, rev)
	if !whole || !slices.Equal(got, []string{"+stays red"}) {
		t.Errorf("whole %v, got %v; want all rows as a whole", whole, got)
	}
	tab.Delete("stays")
	if got, _, whole := changes(tab, rev); whole || !slices.Equal(got, []string{"-stays"}) {
		t.Errorf("whole %v, got %v; want the deletion after the horizon", whole, got)
	}
}

// A reader that applies Changes must end with the rows of the table, whatever
// happened between two looks.
func FuzzChangesReplay(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 130, 4, 255, 7, 129})
	f.Fuzz(func(t *testing.T, ops []byte) {
		tab, copied, rev := newFruits(), map[string]fruit{}, uint64(0)
		for i, op := range ops {
			key := fmt.Sprint(op & 7)
			switch op >> 6 {
			case 0, 1:
				tab.Put(fruit{key, fmt.Sprint(i)})
			case 2:
				tab.Delete(key)
			case 3:
				tab.Replace([]fruit{{key, "x"}, {"7", "x"}}, same)
			}
			if op&8 == 0 && i < len(ops)-1 {
				continue // look only now and then
			}
			var list []Change[string, fruit]
			var whole bool
			list, rev, whole = tab.Changes(rev)
			if whole {
				clear(copied)
			}
			for _, c := range list {
				if delete(copied, c.Key); !c.Deleted {
					copied[c.Key] = c.Row
				}
			}
		}
		want := map[string]fruit{}
		for k, r := range tab.All() {
			want[k] = r
		}
		if len(ops) > 0 && !cmp.Equal(want, copied, cmp.AllowUnexported(fruit{})) {
			t.Errorf("copy %v, table %v", copied, want)
		}
	})
}

func TestABurstIsOneWakeUp(t *testing.T) {
	tab := newFruits()
	wake := make(chan struct{}, 1)
	stop := tab.Notify(wake)
	tab.Put(fruit{"a", ""})
	tab.Put(fruit{"b", ""})
	tab.MarkSynced()
	<-wake
	select {
	case <-wake:
		t.Error("woken twice by one burst")
	default:
	}
	stop()
	tab.Put(fruit{"c", ""})
	select {
	case <-wake:
		t.Error("woken after stop")
	default:
	}
	if !tab.Synced() {
		t.Error("not synced after MarkSynced")
	}
}

func TestAllIsASnapshot(t *testing.T) {
	tab := newFruits(fruit{"a", ""}, fruit{"b", ""})
	rows := tab.All()
	tab.Delete("a", "b")
	n := 0
	for range rows {
		n++
	}
	if n != 2 || tab.Len() != 0 {
		t.Errorf("snapshot has %d rows, table %d; want 2 and 0", n, tab.Len())
	}
}

func TestRowsAreSorted(t *testing.T) {
	tab := newFruits(fruit{"c", ""}, fruit{"a", ""}, fruit{"b", ""})
	got := tab.Rows(func(a, b fruit) int { return strings.Compare(a.name, b.name) })
	if diff := cmp.Diff([]fruit{{"a", ""}, {"b", ""}, {"c", ""}}, got, cmp.AllowUnexported(fruit{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r, ok := tab.Get("b"); !ok || r.name != "b" || tab.Name() != "fruits" {
		t.Errorf("Get(b) = %v %v, name %q", r, ok, tab.Name())
	}
}

// A writer may say everything again whenever anything has changed. Readers that
// were woken for nothing would be late for what comes next: see reconcile.
func TestACommitThatChangesNothingWakesNobody(t *testing.T) {
	tab := newFruits(fruit{"apple", "red"})
	_, before, _ := tab.Changes(0)
	wake := make(chan struct{}, 1)
	defer tab.Notify(wake)()
	tab.Replace([]fruit{{"apple", "red"}}, same)
	tab.Delete("pear")
	tab.Put()
	select {
	case <-wake:
		t.Error("woken for nothing")
	default:
	}
	if list, now, whole := tab.Changes(before); len(list) > 0 || now != before || whole {
		t.Errorf("changes %v, revision %d after %d, whole %v", list, now, before, whole)
	}
	tab.MarkSynced()
	select {
	case <-wake:
	default:
		t.Error("not woken when the table is synced")
	}
	tab.Replace(nil, same)
	select {
	case <-wake:
	default:
		t.Error("not woken for a row that goes")
	}
}
