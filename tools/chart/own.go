package main

// ownSchemas are the values that are the chart's own: what Kubernetes takes, and what the
// operator takes.
func ownSchemas() map[string]*object {
	port := func() *object { return typed("integer").set("minimum", 1).set("maximum", 65535) }
	return map[string]*object{
		"image.repository": matching(`^[A-Za-z0-9][A-Za-z0-9._:/-]*$`),
		"image.tag":        matching(`^$|^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`),
		"image.digest":     matching(`^$|^sha256:[0-9a-f]{64}$`),
		"imagePullSecrets": typed("array").set("items", closed("imagePullSecrets[].", "name", typed("string")).set("required", []string{"name"})),

		"ipam.operator.clusterPoolIPv4PodCIDRList": listOfText(),
		"ipam.operator.clusterPoolIPv4MaskSize":    typed("integer").set("minimum", 1).set("maximum", 32),
		"ipam.operator.clusterPoolIPv6PodCIDRList": listOfText(),
		"ipam.operator.clusterPoolIPv6MaskSize":    typed("integer").set("minimum", 1).set("maximum", 128),

		"ipMasqAgent.config": closed("ipMasqAgent.config.", "nonMasqueradeCIDRs", typed("array").set("items", typed("string")),
			"masqLinkLocal", typed("boolean"), "masqLinkLocalIPv6", typed("boolean"), "resyncInterval", typed("string")),

		"resources":          resources("resources."),
		"operator.resources": resources("operator.resources."),
		"tolerations":        typed("array").set("items", toleration()),
		"nodeSelector":       typed("object").set("additionalProperties", typed("string")),
		"priorityClassName":  matching(`^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`),
		"maxUnavailable":     (&object{}).set("type", []string{"integer", "string"}).set("minimum", 1).set("pattern", `^([1-9][0-9]?|100)%$`),

		"operator.replicas":        typed("integer").set("minimum", 0),
		"operator.prometheus.port": port(),
	}
}

func typed(name string) *object { return (&object{}).set("type", name) }

func matching(pattern string) *object { return typed("string").set("pattern", pattern) }

func listOfText() *object {
	return (&object{}).set("type", []string{"array", "string"}).set("items", typed("string"))
}

// closed is an object of these members and no others: names and schemas by turns. Where it
// is stands in front of names that are meant.
func closed(at string, members ...any) *object {
	into := &group{}
	for i := 0; i+1 < len(members); i += 2 {
		into.add([]string{members[i].(string)}, members[i+1].(*object))
	}
	return into.schema(naming{at: at})
}

// resources are Kubernetes' ResourceRequirements.
func resources(at string) *object {
	quantity := (&object{}).set("type", []string{"string", "number"}).set("pattern", `^[0-9]+(\.[0-9]+)?([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$`)
	amounts := func() *object { return typed("object").set("additionalProperties", quantity) }
	return closed(at, "requests", amounts(), "limits", amounts(), "claims", typed("array"))
}

// toleration is Kubernetes' Toleration.
func toleration() *object {
	return closed("tolerations[].", "key", typed("string"), "operator", (&object{}).set("enum", []string{"Exists", "Equal", "Lt", "Gt"}), "value", typed("string"),
		"effect", (&object{}).set("enum", []string{"NoSchedule", "PreferNoSchedule", "NoExecute", ""}), "tolerationSeconds", typed("integer"))
}
