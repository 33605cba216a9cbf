package agent

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	api "weir/api/agent"
	"weir/control/policy"
	"weir/datapath"
	"weir/state"
)

const namespaceOnly = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"

func TestATraceOfAFileThatItCannotJudgeIsNoAnswer(t *testing.T) {
	a := &Agent{}
	_, err := a.policyTrace(t.Context(), api.TraceRequest{File: "ns.yaml", YAML: namespaceOnly})
	if err == nil || !strings.HasPrefix(err.Error(), "no policies in this file: ns.yaml has neither") {
		t.Errorf("err = %v", err)
	}
}

func TestATraceCountsCIDRGroups(t *testing.T) {
	maps, err := datapath.OpenPolicyMaps(datapath.MemoryPolicyStores(datapath.PolicyCapacity{}))
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{tables: state.New()}
	a.policy = policy.New(slog.New(slog.DiscardHandler), policy.Options{}, a.tables, maps)
	file := api.TraceRequest{File: "g.yaml", YAML: namespaceOnly + "---\napiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g}\nspec: {externalCIDRs: [192.0.2.0/24]}\n"}
	if _, err := a.policyTrace(t.Context(), file); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("before anything is in force: err = %v", err)
	}
	if err := a.policy.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := a.policyTrace(t.Context(), file)
	if err != nil || len(r.Problems) != 0 {
		t.Errorf("problems %v, err %v", r.Problems, err)
	}
	got := cidrGroups(file)
	if len(got) != 1 || got[0].Name != "g" || got[0].CIDRs[0] != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("groups = %+v", got)
	}
}
