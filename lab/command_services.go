package lab

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
)

func servicesCommand() *cobra.Command {
	return &cobra.Command{Use: "services", Short: "Show services with the addresses and ports that the lab gave them", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		l, err := pick(c)
		if err != nil {
			return err
		}
		list, err := l.Services()
		if err != nil {
			return err
		}
		if list == nil {
			list = []*corev1.Service{}
		}
		return show(c, list, func() error { return printServices(c.OutOrStdout(), list) })
	}}
}

// printServices prints what kubectl prints, but for the age; names stand with
// their namespace, and all cluster IPs are shown.
func printServices(w io.Writer, list []*corev1.Service) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tTYPE\tCLUSTER-IP\tEXTERNAL-IP\tPORT(S)")
	for _, s := range list {
		fmt.Fprintf(t, "%s/%s\t%s\t%s\t%s\t%s\n", s.Namespace, s.Name, s.Spec.Type, orNone(s.Spec.ClusterIPs), externalIPs(s), orNone(portTexts(s)))
	}
	return t.Flush()
}

func orNone(texts []string) string {
	if len(texts) == 0 {
		return "<none>"
	}
	return strings.Join(texts, ",")
}

func externalIPs(s *corev1.Service) string {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return s.Spec.ExternalName
	}
	var out []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			out = append(out, in.IP)
		} else {
			out = append(out, in.Hostname)
		}
	}
	out = append(out, s.Spec.ExternalIPs...)
	if len(out) == 0 && s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		return "<pending>"
	}
	return orNone(out)
}

func portTexts(s *corev1.Service) []string {
	var out []string
	for _, p := range s.Spec.Ports {
		proto := p.Protocol
		if proto == "" {
			proto = corev1.ProtocolTCP
		}
		if p.NodePort > 0 {
			out = append(out, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, proto))
		} else {
			out = append(out, fmt.Sprintf("%d/%s", p.Port, proto))
		}
	}
	return out
}
