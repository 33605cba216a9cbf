package agent

import (
	"strings"
	"testing"

	"weir/agent/config"
)

// TestWhatIsAbsentCannotBeSwitchedOn: a status that says Disabled would be a lie if
// the configuration took the key and something came of it.
func TestWhatIsAbsentCannotBeSwitchedOn(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range absences {
		if seen[a.name] || a.state == "" {
			t.Errorf("%s stands twice, or says nothing", a.name)
		}
		seen[a.name] = true
		if a.key == "" {
			continue
		}
		_, warnings, err := config.Parse("weir.yaml", []byte(a.key+": true\n"))
		refused := err != nil && strings.Contains(err.Error(), a.key+" is not in this version")
		idle := strings.Contains(strings.Join(warnings, "\n"), a.key+" has no effect")
		if !refused && !idle {
			t.Errorf("%s: %s is taken: err %v, warnings %q", a.name, a.key, err, warnings)
		}
	}
	for _, row := range []string{"KVStore", "IPv4 BIG TCP", "IPv6 BIG TCP", "BandwidthManager", "Encryption", "Proxy Status", "CNI Chaining"} {
		if !seen[row] {
			t.Errorf("nothing says of %s that it is not there", row)
		}
	}
}
