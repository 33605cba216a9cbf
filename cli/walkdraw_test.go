package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weir/api/agent"
)

func TestADrawingIsAsWideAsItsText(t *testing.T) {
	long := strings.Repeat("k8s:label=value ", 20)
	svg := drawWalk(agent.Walk{Steps: []agent.Step{{Node: "n1", Reply: true, Lookups: []agent.Lookup{{Map: "weir_ipcache", Key: "10.0.0.1", Found: long}}}}})
	width, _ := strconv.Atoi(regexp.MustCompile(`width="(\d+)"`).FindStringSubmatch(svg)[1])
	if width < 7*len(long) || !strings.Contains(svg, "&lt;- n1") {
		t.Errorf("%d pixels for %d characters, in\n%s", width, len(long), fmt.Sprintf("%.400s", svg))
	}
}
