package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"weir/api/agent"
)

func l2Command(env *Env) *cobra.Command {
	return noun("l2", "Addresses of services that nodes answer for on their networks",
		described(verb(env, "list", "List the addresses, who answers for them, and how often this node did", cobra.NoArgs, l2List),
			"List the addresses of services that a CiliumL2AnnouncementPolicy speaks of, the node that\n"+
				"answers ARP and neighbour solicitations for each, and, where it is this one, the device and\n"+
				"how many answers it has sent there.",
			"  weir l2 list"))
}

func l2List(ctx context.Context, env *Env, _ []string) error {
	rows, err := list[agent.L2Announcement](ctx, env, agent.PathL2)
	if err != nil {
		return err
	}
	return env.show(rows, func(w io.Writer) {
		g := grid{{"ADDRESS", "DEVICE", "SERVICE", "HOLDER", "RESPONSES"}}
		for _, r := range rows {
			holder, device, responses := cmp.Or(r.Holder, "nobody"), "-", "-"
			if r.Local {
				holder += " (this node)"
				device = "none matches"
			}
			if r.Device != "" {
				device, responses = r.Device, count64(r.Responses)
			}
			g.add(r.Address, device, strings.Join(r.Services, ", "), holder, responses)
		}
		g.print(w, "")
	})
}

// l2Line says for how many addresses this node answers.
func l2Line(g *grid, s agent.Status) {
	if s.L2 != nil {
		g.add("L2 announcements:", fmt.Sprintf("this node answers for %d of %d", s.L2.Local, s.L2.Addresses))
	}
}
