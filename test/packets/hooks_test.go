package packets

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"weir/bpf"
	"weir/datapath/link/linktest"
	"weir/lab"
)

// program is what `bpftool -j prog show` says of one.
type program struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Tag     string `json:"tag"`
	GPL     bool   `json:"gpl_compatible"`
	Xlated  int    `json:"bytes_xlated"`
	JITed   bool   `json:"jited"`
	Memlock int    `json:"bytes_memlock"`
	Maps    []int  `json:"map_ids"`
	BTF     int    `json:"btf_id"`
}

// programs returns what is attached to one hook of a device, by tcx or tc:
// ours and whoever else's.
func (c *cluster) programs(t *testing.T, node, dev, hook string) ([]program, error) {
	t.Helper()
	var ids []int
	err := linktest.Inside(c.netns(t, node), func() error {
		l, err := netlink.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s: %w", dev, err)
		}
		attach, parent := ebpf.AttachTCXIngress, uint32(netlink.HANDLE_MIN_INGRESS)
		if hook == "egress" {
			attach, parent = ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS
		}
		q, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: attach})
		if err != nil {
			return fmt.Errorf("query tcx: %w", err)
		}
		for _, p := range q.Programs {
			ids = append(ids, int(p.ID))
		}
		filters, err := netlink.FilterList(l, parent)
		if err != nil {
			return fmt.Errorf("list filters: %w", err)
		}
		for _, f := range filters {
			b, ok := f.(*netlink.BpfFilter)
			if !ok {
				return errors.New("a filter of type " + f.Type())
			}
			ids = append(ids, b.Id)
		}
		return nil
	})
	var out []program
	for _, id := range ids {
		var p program
		text := c.run(t, node, "bpftool", "-j", "prog", "show", "id", fmt.Sprint(id))
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		out = append(out, p)
	}
	return out, err
}

var filterID = regexp.MustCompile(`handle 0x`)

func TestRowF1PodsHostDeviceHasOneDirectActionFilterOfOurs(t *testing.T) {
	for _, m := range []mode{legacy, nativeIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			dev := c.pod(t, "a").HostDevice
			text := c.run(t, "n1", "tc", "filter", "show", "dev", dev, "ingress")
			if n := len(filterID.FindAllString(text, -1)); n != 1 {
				t.Errorf("tc filter show: got %d filters, want 1:\n%s", n, text)
			}
			for _, want := range []string{"pref 1 bpf", "handle 0x1", "from_pod-" + dev, "direct-action", "not_in_hw", " tag ", "jited"} {
				if !strings.Contains(text, want) {
					t.Errorf("tc filter show: got\n%s\nwant %q in it", text, want)
				}
			}
		})
	}
}

func TestRowF1PodsHostDeviceHasOneTCXLinkOfOurs(t *testing.T) {
	for _, m := range []mode{vxlan, native} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			for _, pod := range []string{"a", "b"} {
				c.wantPrograms(t, "n1", c.pod(t, pod).HostDevice, bpf.ProgFromPod, "")
			}
		})
	}
}

func TestRowF2BpftoolShowsTheHookOfThePodsHostDevice(t *testing.T) {
	c := on(t, nativeIPv4)
	dev := c.pod(t, "a").HostDevice
	text := c.run(t, "n1", "bpftool", "net", "show", "dev", dev)
	want := regexp.MustCompile(`(?s)xdp:\s+tc:\s+` + dev + `\(\d+\) \S*clsact/ingress from_pod-` + dev + ` id \d+\s+.*flow_dissector:`)
	if !want.MatchString(text) {
		t.Errorf("bpftool net show dev %s: got\n%s\nwant %s", dev, text, want)
	}
}

func TestRowF3ProgramsAreJITedLicensedAndDescribedByBTF(t *testing.T) {
	c := on(t, vxlan)
	for dev, hook := range map[string]string{c.pod(t, "a").HostDevice: "ingress", "eth0": "ingress", "weir_vxlan": "ingress", "weir_host": "egress"} {
		all, err := c.programs(t, "n1", dev, hook)
		if err != nil || len(all) != 1 {
			t.Errorf("%s %s: got %d programs, want 1: %v", dev, hook, len(all), err)
			continue
		}
		p := all[0]
		if p.Type != "sched_cls" || !p.GPL || !p.JITed || p.BTF == 0 || len(p.Maps) == 0 || p.Tag == "" || p.Memlock == 0 {
			t.Errorf("%s: got %+v, want a sched_cls program that is GPL compatible, jited, with BTF and maps", dev, p)
		}
		const most = 136 << 10 // connections, policy, services, masquerading, ICMP errors, L2 announcements, events and the walk are whole in each
		if p.Xlated == 0 || p.Xlated > most {
			t.Errorf("%s: %s has %d bytes of instructions, want at most %d", dev, p.Name, p.Xlated, most)
		}
	}
}

func TestRowF4NothingIsOnTheEgressOfAPodsHostDeviceByDefault(t *testing.T) {
	for _, m := range []mode{vxlan, native, nativeIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			dev := c.pod(t, "a").HostDevice
			c.wantPrograms(t, "n1", dev, bpf.ProgFromPod, "")
			if text := c.run(t, "n1", "tc", "filter", "show", "dev", dev, "egress"); text != "" {
				t.Errorf("tc filter show egress: got\n%s\nwant nothing", text)
			}
		})
	}
}

func TestRowF4LegacyHostRoutingHasToPod(t *testing.T) {
	for _, m := range []mode{legacy, legacyIPv4, nativeIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			c := on(t, m)
			dev := c.pod(t, "a").HostDevice
			c.wantPrograms(t, "n1", dev, bpf.ProgFromPod, bpf.ProgToPod)
			if text := c.run(t, "n1", "tc", "filter", "show", "dev", dev, "egress"); m.attach == "tc" && !strings.Contains(text, "to_pod-"+dev) {
				t.Errorf("tc filter show egress: got\n%s\nwant to_pod-%s", text, dev)
			}
		})
	}
}

func TestRowF4EndpointRoutesHaveToPodAndARouteForEachPod(t *testing.T) {
	s := vxlan.spec()
	s.Name, s.Nodes = prefix+"extras", lab.Nodes(2)
	s.Agent["endpointRoutes"] = map[string]any{"enabled": true}
	c := temporary(t, s, map[string]string{"a": "n1", "b": "n1", "c": "n2"})
	dev := c.pod(t, "a").HostDevice
	c.wantPrograms(t, "n1", dev, bpf.ProgFromPod, bpf.ProgToPod)
	c.eachFamily(t, func(t *testing.T, is4 bool) {
		if r := c.routeTo(t, "n1", c.addr(t, "a", is4)); r.Device != dev {
			t.Errorf("route of %s to the pod: got %+v, want dev %s", "n1", r, dev)
		}
		for _, w := range [][2]string{{"a", "b"}, {"a", "c"}, {"c", "a"}, {"n1", "a"}, {"a", "n1"}, {"world", "a"}} {
			c.reach(t, w[0], c.addr(t, w[1], is4))
		}
		before := c.counters(t, "n1")
		c.reach(t, "n1", c.addr(t, "a", is4))
		c.wantCount(t, "n1", before, at(bpf.PlaceToPod, bpf.ReasonToEndpoint), 3)
	})
}

func TestRowF5TunnelDeviceHasBothPrograms(t *testing.T) {
	for _, m := range []mode{vxlan, legacy, legacyIPv4, vxlanIPv6} {
		t.Run(m.String(), func(t *testing.T) {
			on(t, m).wantPrograms(t, "n1", "weir_vxlan", bpf.ProgFromOverlay, bpf.ProgToOverlay)
		})
	}
}

func TestRowF6UnderlayDeviceHasBothPrograms(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.wantPrograms(t, "n1", "eth0", bpf.ProgFromNetdev, bpf.ProgToNetdev)
		c.wantPrograms(t, "n1", "lo", "", "")
	})
}

func TestRowF6DeviceThatIsExcludedHasNone(t *testing.T) {
	s := vxlan.spec()
	s.Name, s.Nodes = prefix+"extras", lab.NodeSpecs{{Name: "n1", NICs: 1}}
	s.Agent["devices"] = []string{"eth0"}
	c := temporary(t, s, map[string]string{"a": "n1"})
	c.wantPrograms(t, "n1", "eth0", bpf.ProgFromNetdev, bpf.ProgToNetdev)
	c.wantPrograms(t, "n1", "eth1", "", "")
}

func TestRowF7HostDevicesHaveTheirPrograms(t *testing.T) {
	eachMode(t, matrix, func(t *testing.T, c *cluster) {
		c.wantPrograms(t, "n1", "weir_host", bpf.ProgToHost, bpf.ProgFromHost)
		c.wantPrograms(t, "n1", "weir_net", bpf.ProgToHost, "")
	})
}

// The kernel at hand has the helpers: auto means BPF here, and the packets say
// the same as the status.
func TestRowF12HostRoutingIsReportedAsItIs(t *testing.T) {
	s := vxlan.spec()
	s.Name, s.Nodes = prefix+"extras", lab.Nodes(1)
	s.Agent["bpf"] = map[string]any{"hostRouting": "auto"}
	for _, tt := range []struct {
		name, says string
		c          *cluster
		to         string // what is masqueraded, to the world, never goes by the stack
		via        bpf.Reason
	}{
		{"auto", "BPF", temporary(t, s, map[string]string{"a": "n1"}), "world", bpf.ReasonToNetwork},
		{"bpf", "BPF", on(t, native), "n2", bpf.ReasonToNetwork},
		{"legacy", "Legacy", on(t, legacy), "n2", bpf.ReasonToStack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.c.status(t, "n1").Routing.Host; got != tt.says {
				t.Errorf("Host Routing: got %q, want %q", got, tt.says)
			}
			tt.c.eachFamily(t, func(t *testing.T, is4 bool) {
				before := tt.c.counters(t, "n1")
				tt.c.reach(t, "a", tt.c.addr(t, tt.to, is4))
				tt.c.wantCount(t, "n1", before, at(bpf.PlaceFromPod, tt.via), 3)
			})
		})
	}
}
