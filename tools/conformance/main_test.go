package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/lab/kube"
)

func TestAReportInWhichATestRanCounts(t *testing.T) {
	first := []kube.Outcome{{Name: "a", Took: time.Second}, {Name: "b", NotRun: kube.NotAsked}, {Name: "c", NotRun: kube.NotAsked}, {Name: "d", Failed: "no"}}
	second := []kube.Outcome{{Name: "a", NotRun: kube.NotAsked}, {Name: "b", Took: time.Minute}, {Name: "c", NotRun: "needs SSH"}, {Name: "d", NotRun: kube.NotAsked}}
	want := []kube.Outcome{{Name: "a", Took: time.Second}, {Name: "b", Took: time.Minute}, {Name: "c", NotRun: "needs SSH"}, {Name: "d", Failed: "no"}}
	for _, got := range [][]kube.Outcome{merge(first, second), merge(second, first), merge(merge(nil, first), second)} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
