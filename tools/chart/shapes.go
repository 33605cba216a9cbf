package main

import (
	"slices"
	"strings"

	"weir/agent/config"
)

// taken are keys of weir.yaml that are no values of their own, and are taken at their
// own place all the same: Cilium's chart has them there, or this one had.
var taken = []string{"tunnelProtocol", "underlayProtocol", "endpointRoutes.enabled", "loadBalancer.dsrDispatch", "nodePort.addresses",
	"kubeProxyReplacementHealthzBindAddr", "hostFirewall.failSafe", "policy.cidrMatchMode", "bpf.root", "bpf.attachMode", "bpf.vlanBypass", "bpf.monitorInterval",
	"hubble.listenAddress", "hubble.eventBufferCapacity", "hubble.metrics.enabled", "hubble.tls.enabled", "cleanState", "cleanBPFState"}

// shapeOf finds the shape of a key of weir.yaml.
func shapeOf(key string) (config.Shape, bool) {
	for _, s := range config.Shapes() {
		if s.Key == key {
			return s, true
		}
	}
	return config.Shape{}, false
}

// keySchema is the schema of a key of weir.yaml. More are words that are taken beside;
// null says that nothing is, too.
func keySchema(s config.Shape, null bool, more ...any) *object {
	o := &object{}
	switch {
	case s.Key == "hubble.metrics.enabled" && len(more) > 0:
		return flowMetricsSchema()
	case s.List:
		return listSchema(s, null)
	case s.Kind == "bool" && len(more) == 0 || s.Kind == "bool" && more[0] == "":
		return o.set("type", types(null, "boolean"))
	case s.Kind == "bool":
		return o.set("enum", append([]any{true, false}, more...))
	case s.Kind == "int":
		return limits(o.set("type", types(null, "integer")), s)
	case len(s.OneOf) > 0:
		return enum(o, null, append(anys(s.OneOf), more...))
	}
	return pattern(o.set("type", types(null, "string")), s)
}

// takenSchema is that of a key at its own place. Cilium's values.yaml has nothing where
// this has a default.
func takenSchema(key string) *object {
	s, _ := shapeOf(key)
	return keySchema(s, true, "").set("description", "A key of extraConfig that is taken here, too: "+s.Means+".")
}

// listSchema takes a list as --set has it, too: "a,b", or one alone.
func listSchema(s config.Shape, null bool) *object {
	o, of := (&object{}).set("type", types(null, "array", "string")), (&object{}).set("type", "string")
	if s.Kind == "int" {
		o.set("type", types(null, "array", "string", "integer")).set("pattern", `^([0-9]+(, *[0-9]+)*)?$`).set("uniqueItems", true)
		of.set("type", "integer")
		limits(o, s)
	}
	switch {
	case len(s.OneOf) > 0:
		one := "(" + strings.Join(s.OneOf, "|") + ")"
		of = (&object{}).set("enum", s.OneOf)
		o.set("pattern", "^("+one+"(, *"+one+")*)?$")
	case s.Pattern != "":
		of.set("pattern", s.Pattern)
		one := strings.TrimSuffix(strings.TrimPrefix(s.Pattern, "^"), "$")
		o.set("pattern", "^("+one+"(, *"+one+")*)?$")
	}
	if s.MostOf > 0 {
		o.set("maxItems", s.MostOf)
	}
	return o.set("items", limits(of, s))
}

// flowMetricsSchema takes Cilium's list: names, each with options behind a colon.
func flowMetricsSchema() *object {
	names := slices.Concat(config.FlowMetrics(), ciliumsFlowMetrics)
	slices.Sort(names)
	one := "(" + strings.Join(slices.Compact(names), "|") + ")([:;][^,]*)?"
	return (&object{}).set("type", types(true, "array", "string")).set("pattern", "^("+one+"(, *"+one+")*)?$").
		set("items", (&object{}).set("type", "string").set("pattern", "^"+one+"$"))
}

// ciliumsFlowMetrics are Cilium's metrics of flows that need not be here.
var ciliumsFlowMetrics = []string{"dns", "flows-to-world", "http", "httpV2", "kafka", "policy", "sctp"}

func limits(o *object, s config.Shape) *object {
	if s.Least != s.Most {
		o.set("minimum", s.Least).set("maximum", s.Most)
	}
	return o
}

func pattern(o *object, s config.Shape) *object {
	may := canBeEmpty(s.Key)
	switch {
	case s.Pattern != "" && may:
		return o.set("pattern", "^$|"+s.Pattern)
	case s.Pattern != "":
		return o.set("pattern", s.Pattern)
	case !may:
		return o.set("minLength", 1)
	}
	return o
}

// canBeEmpty asks the agent.
func canBeEmpty(key string) bool {
	_, _, err := config.Parse("", nil, "nodeName=n1", key+"=")
	return err == nil
}

// spellingSchema is the schema of another spelling.
func spellingSchema(other string) *object {
	rules := slices.DeleteFunc(config.Spellings(), func(s config.Spelling) bool { return s.Other != other })
	o, last := &object{}, rules[len(rules)-1]
	words := config.Words(other)
	switch {
	case last.Takes == "bool":
		o.set("type", types(true, "boolean"))
	case last.Takes == "int":
		o.set("type", types(true, "integer"))
	case last.Takes == "number":
		o.set("type", types(true, "number", "string")).set("pattern", `^[0-9]*\.?[0-9]+$`) // --set makes texts of fractions
	case len(words) > 0:
		enum(o, true, anys(words))
	case last.Key == "" && last.Why == "":
		o.set("type", types(true, "boolean", "string"))
	case last.Key == "":
		o.set("type", types(true, "string"))
	default:
		s, _ := shapeOf(last.Key)
		o = keySchema(s, true, whens(other)...)
	}
	return o.set("description", about(other))
}

// whens are the words of other values of a name.
func whens(name string) []any {
	var out []any
	for _, s := range config.Spellings() {
		if s.Other == name && s.When != "" {
			out = append(out, s.When)
		}
	}
	return out
}

// extraSchema adds every key of weir.yaml to extraConfig, as a tree, and with dots.
func extraSchema() *object {
	root := &group{}
	for _, s := range config.Shapes() {
		root.add(strings.Split(s.Key, "."), keySchema(s, true).set("description", s.Means))
	}
	for _, s := range config.Shapes() {
		if strings.Contains(s.Key, ".") {
			root.add([]string{s.Key}, keySchema(s, true))
		}
	}
	return root.schema(naming{at: "extraConfig.", all: keyNames(), other: config.Spellings()})
}

func keyNames() []string {
	var out []string
	for _, s := range config.Shapes() {
		out = append(out, s.Key)
	}
	return out
}

// types is one type, or several.
func types(null bool, names ...string) any {
	if null {
		return append([]string{"null"}, names...)
	}
	if len(names) == 1 {
		return names[0]
	}
	return names
}

// enum takes these words. Where nothing is taken, too, its message shall not say so.
func enum(o *object, null bool, words []any) *object {
	if !null {
		return o.set("enum", words)
	}
	return o.set("type", types(true, "string")).set("if", typed("string")).set("then", (&object{}).set("enum", words))
}

func anys(words []string) []any {
	var out []any
	for _, w := range words {
		out = append(out, w)
	}
	return out
}
