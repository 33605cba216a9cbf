{{/* Values to the agent's weir.yaml. What the chart and weir.yaml both have has the same
     name, so that this is a walk over two lists: files/keys.yaml, the keys that are taken
     at their own place, and files/spellings.yaml, what else people write. Both are made of
     agent/config by `make generate`. */}}

{{/* weir.at: the value at a dotted path, as {value: ...}, or nothing. */}}
{{- define "weir.at" -}}
{{- $at := index . 0 -}}
{{- $found := true -}}
{{- range splitList "." (index . 1) -}}
{{- if and $found (kindIs "map" $at) (hasKey $at .) -}}
{{- $at = get $at . -}}
{{- else -}}
{{- $found = false -}}
{{- end -}}
{{- end -}}
{{- if and $found (not (kindIs "invalid" $at)) -}}
{{- dict "value" $at | toJson -}}
{{- end -}}
{{- end -}}

{{/* weir.flatten: a tree of values as dotted keys, into the dict that is last. */}}
{{- define "weir.flatten" -}}
{{- $prefix := index . 0 -}}
{{- $out := index . 2 -}}
{{- range $key, $value := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- include "weir.flatten" (list (printf "%s%s." $prefix $key) $value $out) -}}
{{- else -}}
{{- $_ := set $out (printf "%s%s" $prefix $key) $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.text: a value as one reads it, so that two can be compared. */}}
{{- define "weir.text" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if kindIs "float64" . -}}
{{- toJson . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* weir.place: where a key is to be written. */}}
{{- define "weir.place" -}}
{{- $is := get (index . 0).keys (index . 1) | default dict -}}
{{- if hasKey $is "unset" -}}{{ index . 1 }}{{- else -}}extraConfig.{{ index . 1 }}{{- end -}}
{{- end -}}

{{/* weir.claim: a name says that a key has a value; another may not say otherwise. The
     arguments are what weir.read gathers, the key, its value, the name, and what stands
     there under the name. */}}
{{- define "weir.claim" -}}
{{- $r := index . 0 -}}
{{- $key := index . 1 -}}
{{- $value := index . 2 -}}
{{- $name := index . 3 -}}
{{- $given := include "weir.text" (index . 4) -}}
{{- $text := include "weir.text" $value -}}
{{- $before := get $r.claims $key | default dict -}}
{{- if and $before (ne $before.name $name) (ne $before.text $text) -}}
{{- $_ := set $r "errors" (append $r.errors (printf "%s is %s and %s is %s: keep %s alone" $name $given $before.name $before.given (include "weir.place" (list $r $key)))) -}}
{{- end -}}
{{- $_ := set $r.claims $key (dict "name" $name "text" $text "given" $given) -}}
{{- $_ := set $r.config $key $value -}}
{{- end -}}

{{/* weir.flowMetrics: Cilium's list of metrics of flows without what is not here. The
     arguments are what weir.read gathers, the list, and those that there are. */}}
{{- define "weir.flowMetrics" -}}
{{- $r := index . 0 -}}
{{- $have := index . 2 -}}
{{- $out := list -}}
{{- range include "weir.list" (index . 1) | fromJsonArray -}}
{{- $name := regexFind "^[^:;]+" . -}}
{{- $options := trimPrefix $name . | trimAll ":;" -}}
{{- if not (has $name $have) -}}
{{- $_ := set $r "warnings" (append $r.warnings (printf "hubble.metrics.enabled: %s is not in this version, and left out" $name)) -}}
{{- else -}}
{{- $out = append $out $name -}}
{{- if $options -}}
{{- $_ := set $r "warnings" (append $r.warnings (printf "hubble.metrics.enabled: %s has no options here, %s is left out" $name $options)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $out | uniq | toJson -}}
{{- end -}}

{{/* weir.ownPlace: keys of weir.yaml that stand among the values under their own name. */}}
{{- define "weir.ownPlace" -}}
{{- $r := index . 0 -}}
{{- $values := index . 1 -}}
{{- range $key, $is := $r.keys -}}
{{- $at := include "weir.at" (list $values $key) | fromJson -}}
{{- $given := get $at "value" -}}
{{- if hasKey $is "unset" -}}
{{- if eq (include "weir.text" $given) (include "weir.text" $is.unset) -}}
{{- $_ := set $r.config $key $given -}}
{{- else if hasKey $at "value" -}}
{{- include "weir.claim" (list $r $key $given $key $given) -}}
{{- end -}}
{{- else if and (hasKey $at "value") (not (and (kindIs "string" $given) (empty $given))) -}}
{{- $value := $given -}}
{{- if eq $key "hubble.metrics.enabled" -}}
{{- $value = include "weir.flowMetrics" (list $r $given $is.oneOf) | fromJsonArray -}}
{{- end -}}
{{- include "weir.claim" (list $r $key $value $key $given) -}}
{{- $_ := set $r "warnings" (append $r.warnings (printf "%s: not a value of its own, write extraConfig.%s: %s" $key $key (include "weir.text" $value))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* weir.spelled: one of the other spellings, with its rules. */}}
{{- define "weir.spelled" -}}
{{- $r := index . 0 -}}
{{- $other := index . 1 -}}
{{- $given := index . 2 -}}
{{- $rule := dict -}}
{{- range index . 3 -}}
{{- if and (not $rule) (or (not (hasKey . "when")) (eq .when (toString $given))) -}}
{{- $rule = . -}}
{{- end -}}
{{- end -}}
{{- if $rule.key -}}
{{- $value := $given -}}
{{- if hasKey $rule "value" -}}{{- $value = $rule.value -}}{{- end -}}
{{- if and (hasKey $rule "value") (empty $rule.value) -}}
{{- $_ := set $r.emptied $rule.key true -}}
{{- else -}}
{{- include "weir.claim" (list $r $rule.key $value $other $given) -}}
{{- end -}}
{{- $_ := set $r "warnings" (append $r.warnings (printf "%s: old spelling, write %s: %s" $other (include "weir.place" (list $r $rule.key)) (include "weir.text" $value | default "\"\""))) -}}
{{- else if $rule.why -}}
{{- $_ := set $r "warnings" (append $r.warnings (printf "%s has no effect: %s" $other $rule.why)) -}}
{{- else if and $rule (not (has (toString $given) (list "" "false" "disabled" "none"))) -}}
{{- $_ := set $r "errors" (append $r.errors (printf "%s is not in this version: remove it, or set it to false" $other)) -}}
{{- end -}}
{{- end -}}

{{/* weir.read: {config, warnings, errors} of the values. */}}
{{- define "weir.read" -}}
{{- $r := dict "keys" (.Files.Get "files/keys.yaml" | fromYaml) "config" dict "claims" dict "emptied" dict "warnings" list "errors" list -}}
{{- include "weir.ownPlace" (list $r .Values) -}}
{{- range $other, $rules := .Files.Get "files/spellings.yaml" | fromYaml -}}
{{- $at := include "weir.at" (list $.Values $other) | fromJson -}}
{{- if hasKey $at "value" -}}
{{- include "weir.spelled" (list $r $other $at.value $rules) -}}
{{- end -}}
{{- end -}}
{{- $extra := dict -}}
{{- $_ := include "weir.flatten" (list "" (.Values.extraConfig | default dict) $extra) -}}
{{- range $key, $value := $extra -}}
{{- if not (kindIs "invalid" $value) -}}
{{- include "weir.claim" (list $r $key $value (printf "extraConfig.%s" $key) $value) -}}
{{- end -}}
{{- end -}}
{{- range $key, $yes := $r.emptied -}}
{{- $_ := set $r.config $key "" -}}
{{- end -}}
{{- with get $r.config "nodePort.range" -}}
{{- if contains "," (toString .) -}}
{{- $_ := set $r.config "nodePort.range" (replace "," "-" .) -}}
{{- $_ := set $r "warnings" (append $r.warnings (printf "nodePort.range: old spelling, write nodePort.range: %s" (replace "," "-" .))) -}}
{{- end -}}
{{- end -}}
{{- if eq (include "weir.flowsTLS" (list $ $r.config)) "true" -}}
{{- $_ := set $r "config" (mergeOverwrite (dict "hubble.tls.certFile" "/var/lib/weir/tls/tls.crt" "hubble.tls.keyFile" "/var/lib/weir/tls/tls.key" "hubble.tls.clientCAFile" "/var/lib/weir/tls/ca.crt") $r.config) -}}
{{- end -}}
{{- include "weir.check" (list $r .Values) -}}
{{- dict "config" $r.config "warnings" $r.warnings "errors" $r.errors | toJson -}}
{{- end -}}
