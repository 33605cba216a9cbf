package agent

import (
	"errors"
	"net/netip"
	"testing"

	"weir/control/service"
	"weir/datapath"
	"weir/state"
)

func TestServiceAnswersHaveListsAndWords(t *testing.T) {
	d := service.Detail{Row: state.Service{Name: state.ServiceName{Namespace: "d", Name: "web"}, ExternalLocal: true},
		Ports: []service.PortDetail{{Port: 53, Proto: state.ProtoUDP, IPv6: true}}}
	s := serviceOf(d)
	if s.ExternalPolicy != "Local" || s.InternalPolicy != "Cluster" || s.Ports[0].Port != "53/UDP" || s.Ports[0].Family != "IPv6" {
		t.Errorf("got %+v", s)
	}
	if s.ClusterIPs == nil || s.Problems == nil || s.Ports[0].Endpoints == nil || s.Ports[0].Frontends == nil {
		t.Errorf("an empty list is none: %+v", s)
	}
}

func TestDirectRoutingIsTheDeviceWithTheNodesAddress(t *testing.T) {
	devices := []state.Device{{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.0.2/24")}},
		{Name: "eth1", Addrs: []netip.Prefix{netip.MustParsePrefix("172.18.0.2/16")}}}
	if got := deviceWith(devices, []netip.Addr{netip.MustParseAddr("172.18.0.2")}); got != "eth1" {
		t.Errorf("got %q, want eth1", got)
	}
	if got := deviceWith(devices, nil); got != "" {
		t.Errorf("got %q, want none", got)
	}
}

func TestStatusSaysWhichDevicesAreAccelerated(t *testing.T) {
	at := func(device string, xdp datapath.XDPMode, kind datapath.AttachMode, err error) datapath.Attached {
		return datapath.Attached{Attachment: datapath.Attachment{Device: device, XDP: xdp}, Kind: kind, Err: err}
	}
	native := at("eth0", datapath.XDPNative, datapath.AttachXDPNative, nil)
	for want, all := range map[string][]datapath.Attached{
		"Disabled":                          {at("eth0", "", datapath.AttachTCX, nil), at("eth1", datapath.XDPNative, "", errors.New("its device eth1 is gone"))},
		"Native   [eth0]":                   {native, at("weir_host", "", datapath.AttachTCX, nil)},
		"Generic   [eth1], Native   [eth0]": {native, at("eth1", datapath.XDPBestEffort, datapath.AttachXDPGeneric, nil)},
	} {
		if got := accelerated(all); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
