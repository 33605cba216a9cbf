package agent

import (
	"net/http"

	api "weir/api/agent"
	"weir/control/l2announce"
)

// l2On reports whether the node answers for addresses of services. Those are Weir's
// to forward, or nobody would take what comes for them.
func (a *Agent) l2On() bool { return a.cfg.L2Announcements.Enabled && a.cfg.KubeProxyReplacement }

func (a *Agent) l2Options() l2announce.Options {
	return l2announce.Options{IPv4: a.cfg.IPv4.Enabled, IPv6: a.cfg.IPv6.Enabled}
}

// listL2 has one row for each device, and one for an address without any.
func (a *Agent) listL2(*http.Request) ([]api.L2Announcement, error) {
	out := []api.L2Announcement{}
	for _, x := range a.l2.List() {
		row := api.L2Announcement{Address: x.Addr.String(), Services: texts(x.Services), Holder: x.Holder, Local: x.Holder == a.cfg.NodeName}
		for _, d := range x.Devices {
			var err error
			row.Device = d.Name
			if row.Responses, err = a.dp.L2Responses(l2announce.Key(x.Addr, d.Index)); err != nil {
				return nil, err
			}
			out = append(out, row)
		}
		if len(x.Devices) == 0 {
			out = append(out, row)
		}
	}
	return out, nil
}

// l2Status is nil where the node answers for none.
func (a *Agent) l2Status() *api.L2Status {
	if !a.l2On() {
		return nil
	}
	out := &api.L2Status{}
	for _, x := range a.l2.List() {
		out.Addresses++
		if len(x.Devices) > 0 {
			out.Local++
		}
	}
	return out
}
