package kube

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Each watch that did not end by itself costs a request, so those that did must not.
func TestOnlyAWatchThatEndedEarlyIsDoubted(t *testing.T) {
	limit := int64(300)
	o := metav1.ListOptions{TimeoutSeconds: &limit}
	of := func(lived time.Duration, heard bool) *spell {
		s := newSpell(o)
		s.began = time.Now().Add(-lived)
		s.heard.Store(heard)
		return s
	}
	for name, c := range map[string]struct {
		s    *spell
		want bool
	}{
		"a list":                         {nil, true},
		"to its end":                     {of(5*time.Minute, true), true},
		"to its end, and never heard of": {of(5*time.Minute, false), false},
		"cut off":                        {of(time.Minute, true), false},
		"without an end":                 {newSpell(metav1.ListOptions{}), false},
	} {
		if got := c.s.whole(); got != c.want {
			t.Errorf("%s: whole is %v, want %v", name, got, c.want)
		}
	}
}
