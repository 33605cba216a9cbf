package packets

import "testing"

// settings are the values of each dimension of the matrix.
func (m mode) settings() [4]string {
	return [4]string{m.routing, m.family, m.hostRouting, m.attach}
}

func TestMatrixCoversEveryPairOfSettings(t *testing.T) {
	values := [4][]string{{"vxlan", "native"}, {"ipv4", "ipv6", "dual"}, {"bpf", "legacy"}, {"tcx", "tc"}}
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			for _, x := range values[i] {
				for _, y := range values[j] {
					if !covered(i, j, x, y) {
						t.Errorf("no lab is %s and %s", x, y)
					}
				}
			}
		}
	}
}

func covered(i, j int, x, y string) bool {
	for _, m := range matrix {
		if s := m.settings(); s[i] == x && s[j] == y {
			return true
		}
	}
	return false
}

// ways are the connections a cluster owes: who speaks first, and to whom.
var ways = []struct{ name, from, to string }{
	{"same node", "a", "b"},
	{"cross node", "a", "c"},
	{"cross node back", "c", "a"},
	{"host to pod", "n1", "a"},
	{"pod to host", "a", "n1"},
	{"pod to remote node", "a", "n2"},
	{"host to remote pod", "n1", "c"},
	{"pod to world", "a", "world"},
	{"world to pod", "world", "a"},
}

func TestMatrixCarriesEveryWay(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			for _, w := range ways {
				t.Run(w.name, func(t *testing.T) {
					c.reach(t, w.from, c.addr(t, w.to, is4))
					if err := c.exchange(t, w.from, w.to, is4, 1<<20); err != nil {
						t.Errorf("TCP: %v", err)
					}
				})
			}
		})
	})
}

func TestMatrixAgentsSayTheirMode(t *testing.T) {
	for _, m := range matrix {
		t.Run(m.String(), func(t *testing.T) {
			got := on(t, m).status(t, "n1").Routing
			want := map[string]string{"vxlan": "Tunnel [vxlan]", "native": "Native", "bpf": "BPF", "legacy": "Legacy", "tcx": "TCX", "tc": "Legacy TC"}
			if got.Mode != want[m.routing] || got.Host != want[m.hostRouting] || got.AttachMode != want[m.attach] {
				t.Errorf("status: got %q, %q, %q, want %q, %q, %q", got.Mode, got.Host, got.AttachMode, want[m.routing], want[m.hostRouting], want[m.attach])
			}
		})
	}
}
