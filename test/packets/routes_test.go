package packets

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/lab"
)

// route is what `ip -j route` says of one.
type route struct {
	Dst     string `json:"dst"`
	Gateway string `json:"gateway"`
	Device  string `json:"dev"`
	Source  string `json:"prefsrc"`
	Scope   string `json:"scope"`
	Metrics []struct {
		MTU int `json:"mtu"`
	} `json:"metrics"`
}

func (r route) mtu() int {
	if len(r.Metrics) == 0 {
		return 0
	}
	return r.Metrics[0].MTU
}

// routes returns the main table of a family.
func (c *cluster) routes(t *testing.T, ref string, is4 bool) []route {
	t.Helper()
	return c.ask(t, ref, is4, "show", "table", "main")
}

// routeTo asks the kernel for its way to an address.
func (c *cluster) routeTo(t *testing.T, ref string, to netip.Addr) route {
	t.Helper()
	return c.ask(t, ref, to.Is4(), "get", to.String())[0]
}

func (c *cluster) ask(t *testing.T, ref string, is4 bool, argv ...string) []route {
	t.Helper()
	family := "-6"
	if is4 {
		family = "-4"
	}
	var out []route
	text := c.run(t, ref, append([]string{"ip", "-j", "-d", family, "route"}, argv...)...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// to returns the routes whose destination it is.
func to(all []route, prefix netip.Prefix) []route {
	var out []route
	for _, r := range all {
		if p, err := netip.ParsePrefix(r.Dst); err == nil && p == prefix || r.Dst == prefix.Addr().String() && prefix.IsSingleIP() {
			out = append(out, r)
		}
	}
	return out
}

func TestRowE1TunnelHasOneRouteForEachNodesCIDR(t *testing.T) {
	for _, m := range []mode{vxlan, legacy, legacyIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				all := c.routes(t, "n1", is4)
				for _, node := range []string{"n1", "n2", "n3"} {
					got := to(all, c.cidr(t, node, is4))
					if len(got) != 1 || got[0].Device != "weir_host" {
						t.Errorf("routes to %s: got %+v, want one over weir_host", c.cidr(t, node, is4), got)
					}
				}
			})
		})
	}
}

func TestRowE1RoutesGoWithTheirNode(t *testing.T) {
	eachMode(t, bpfRouted, func(t *testing.T, c *cluster) {
		file := filepath.Join(c.dir, "objects", "ciliumnode_n3.yaml")
		aside := filepath.Join(c.dir, "n3.aside")
		gone := func() (left []route) {
			for _, is4 := range []bool{true, false} {
				left = append(left, to(c.routes(t, "n1", is4), c.cidr(t, "n3", is4))...)
			}
			return left
		}
		if n := len(gone()); n != 2 {
			t.Fatalf("%d routes to the pods of n3, want one of each family", n)
		}
		if err := os.Rename(file, aside); err != nil {
			t.Fatal(err)
		}
		if !await(2*time.Second, func() bool { return len(gone()) == 0 }) {
			t.Errorf("2 s after node n3 went: routes %+v are left", gone())
		}
		if err := os.Rename(aside, file); err != nil {
			t.Fatal(err)
		}
		if !await(2*time.Second, func() bool { return len(gone()) == 2 }) {
			t.Errorf("2 s after node n3 came back: routes %+v", gone())
		}
		// The routes come by themselves, the addresses a little later.
		if !await(2*time.Second, func() bool {
			return c.tunnelEndpoint(t, "n1", c.addr(t, "d", true)).IsValid() && c.tunnelEndpoint(t, "n1", c.addr(t, "d", false)).IsValid() &&
				c.tunnelEndpoint(t, "n2", c.addr(t, "d", true)).IsValid()
		}) {
			t.Errorf("2 s after node n3 came back: no way to its pods")
		}
		c.eachFamily(t, func(t *testing.T, is4 bool) { c.reach(t, "a", c.addr(t, "d", is4)) })
	})
}

func TestRowE2HostHasARouteToTheRouter(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			r := c.router(t, "n1", is4)
			got := to(c.routes(t, "n1", is4), netip.PrefixFrom(r, r.BitLen()))
			if len(got) != 1 || got[0].Device != "weir_host" || got[0].Gateway != "" {
				t.Errorf("routes to router %s: got %+v, want one over weir_host without gateway", r, got)
			}
		})
	})
}

func TestRowE3NativeRoutesLeadToTheNodesThemselves(t *testing.T) {
	for _, m := range []mode{native, nativeIPv4, nativeIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				all := c.routes(t, "n1", is4)
				for _, node := range []string{"n2", "n3"} {
					got := to(all, c.cidr(t, node, is4))
					if len(got) != 1 || got[0].Device != "eth0" || got[0].Gateway != c.addr(t, node, is4).String() {
						t.Errorf("routes to %s: got %+v, want one via %s dev eth0", c.cidr(t, node, is4), got, c.addr(t, node, is4))
					}
				}
			})
			if text := c.run(t, "n1", "ip", "link", "show", "type", "vxlan"); text != "" {
				t.Errorf("native routing has a tunnel device: %s", text)
			}
		})
	}
}

func TestRowE4OwnCIDRLeadsToTheHostDevice(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			router, via := c.router(t, "n1", is4).String(), ""
			if is4 { // IPv6 takes no gateway that is an address of the host
				via = router
			}
			got := to(c.routes(t, "n1", is4), c.cidr(t, "n1", is4))
			if len(got) != 1 || got[0].Device != "weir_host" || got[0].Source != router || got[0].Gateway != via {
				t.Errorf("routes to %s: got %+v, want via %q dev weir_host src %s", c.cidr(t, "n1", is4), got, via, router)
			}
		})
	})
}

func TestRowE5PodHasTwoRoutesOfEachFamily(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			router := c.router(t, "n1", is4).String()
			mtu := 1500
			if c.spec.Mode == lab.ModeVXLAN {
				mtu = 1450
				if !*c.spec.IPv4 {
					mtu = 1430
				}
			}
			all := c.routes(t, "a", is4)
			seen := map[string]bool{}
			for _, r := range all {
				switch {
				case r.Dst == "default" && r.Gateway == router && r.Device == "eth0" && r.mtu() == mtu:
					seen["default"] = true
				case r.Dst == router && r.Gateway == "" && r.Device == "eth0":
					seen["router"] = true
				}
			}
			if len(all) != 2 || len(seen) != 2 {
				t.Errorf("routes of the pod: got %+v, want default via %s dev eth0 mtu %d, and %s dev eth0", all, router, mtu, router)
			}
		})
	})
}

func TestRowE6PodReachesRemotePodsOverTheRouter(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			got := c.routeTo(t, "a", c.addr(t, "c", is4))
			if got.Gateway != c.router(t, "n1", is4).String() || got.Device != "eth0" || got.Source != c.addr(t, "a", is4).String() {
				t.Errorf("ip route get %s: got %+v, want via %s dev eth0 src %s", c.addr(t, "c", is4), got, c.router(t, "n1", is4), c.addr(t, "a", is4))
			}
		})
	})
}

// neighbour is what `ip -j neigh` says of one.
type neighbour struct {
	Dst    string   `json:"dst"`
	Device string   `json:"dev"`
	MAC    string   `json:"lladdr"`
	State  []string `json:"state"`
}

func (c *cluster) neighbours(t *testing.T, ref string, more ...string) []neighbour {
	t.Helper()
	var out []neighbour
	text := strings.TrimSpace(c.run(t, ref, append([]string{"ip", "-j", "neigh", "show"}, more...)...))
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func TestRowE7GatewaysMACIsThatOfThePodsHostDevice(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		for _, pod := range []string{"a", "b"} {
			want := c.devices(t, "n1")[c.pod(t, pod).HostDevice].Address
			c.eachFamily(t, func(t *testing.T, is4 bool) {
				c.reach(t, pod, c.addr(t, "c", is4))
				found := false
				for _, n := range c.neighbours(t, pod) {
					if n.Dst == c.router(t, "n1", is4).String() {
						found = true
						if n.MAC != want {
							t.Errorf("%s: MAC of the gateway: got %s, want %s", pod, n.MAC, want)
						}
					} else if a := netip.MustParseAddr(n.Dst); a.Is4() == is4 && !a.IsLinkLocalUnicast() {
						t.Errorf("%s knows a neighbour besides the gateway: %+v", pod, n)
					}
				}
				if !found {
					t.Errorf("%s has no neighbour entry of the gateway", pod)
				}
			})
		}
	})
}

func TestRowE8CrossNodeTrafficRecoversFromAFlushOfNeighbours(t *testing.T) {
	eachMode(t, dualStack, func(t *testing.T, c *cluster) {
		c.eachFamily(t, func(t *testing.T, is4 bool) {
			c.reach(t, "a", c.addr(t, "c", is4))
			c.run(t, "n1", "ip", "neigh", "flush", "all")
			began := time.Now()
			ok := await(time.Second, func() bool { return c.ping(t, "a", c.addr(t, "c", is4), "-c", "1", "-W", "0.2").received == 1 })
			if !ok {
				t.Errorf("no answer %s after ip neigh flush all", time.Since(began))
			}
		})
		// The kernel keeps the nodes' own entries itself again.
		want := map[string]bool{}
		for _, node := range []string{"n2", "n3"} {
			for _, a := range c.node(t, node).Addresses {
				want[a.String()] = true
			}
		}
		missing := ""
		ok := await(patience, func() bool {
			managed := map[string]bool{}
			for line := range strings.Lines(c.run(t, "n1", "ip", "neigh", "show", "dev", "eth0")) {
				if strings.Contains(line, "managed") {
					managed[strings.Fields(line)[0]] = true
				}
			}
			missing = ""
			for a := range want {
				if !managed[a] {
					missing += " " + a
				}
			}
			return missing == ""
		})
		if !ok {
			t.Errorf("managed neighbours%s did not come back", missing)
		}
	})
}

func TestRowE9NoNodeHasABridge(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		for _, node := range []string{"n1", "n2", "n3"} {
			if text := c.run(t, node, "ip", "link", "show", "type", "bridge"); text != "" {
				t.Errorf("%s has bridges: %s", node, text)
			}
		}
	})
}
