{{/* Values to the agent's weir.yaml. What the chart and weir.yaml both have has the same
     name, so that this is a walk over two lists: files/keys.yaml, the values that are
     keys, and files/spellings.yaml, what else people write. Both are made of agent/config
     by `make generate`. */}}

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

{{/* weir.read: {config, warnings, errors} of the values. */}}
{{- define "weir.read" -}}
{{- $config := dict -}}
{{- $warnings := list -}}
{{- $errors := list -}}
{{- $defaults := .Files.Get "files/keys.yaml" | fromYaml -}}
{{- range $key, $default := $defaults -}}
{{- $at := include "weir.at" (list $.Values $key) | fromJson -}}
{{- if hasKey $at "value" -}}
{{- $_ := set $config $key $at.value -}}
{{- end -}}
{{- end -}}
{{- range $other, $rules := .Files.Get "files/spellings.yaml" | fromYaml -}}
{{- $at := include "weir.at" (list $.Values $other) | fromJson -}}
{{- if hasKey $at "value" -}}
{{- $given := $at.value -}}
{{- $rule := dict -}}
{{- range $rules -}}
{{- if and (not $rule) (or (not (hasKey . "when")) (eq .when (toString $given))) -}}
{{- $rule = . -}}
{{- end -}}
{{- end -}}
{{- if $rule.key -}}
{{- $value := $given -}}
{{- if hasKey $rule "value" -}}{{- $value = $rule.value -}}{{- end -}}
{{- $have := get $config $rule.key -}}
{{- if and (ne $other $rule.key) (ne (toString $have) (toString (get $defaults $rule.key))) (ne (toString $have) (toString $value)) -}}
{{- $errors = append $errors (printf "%s is %v and %s is %v: keep %s alone" $other $given $rule.key $have $rule.key) -}}
{{- end -}}
{{- $_ := set $config $rule.key $value -}}
{{- $warnings = append $warnings (printf "%s: old spelling, write %s: %v" $other $rule.key $value) -}}
{{- else if $rule.why -}}
{{- $warnings = append $warnings (printf "%s has no effect: %s" $other $rule.why) -}}
{{- else if and $rule (not (has (toString $given) (list "" "false" "disabled" "none"))) -}}
{{- $errors = append $errors (printf "%s is not in this version: remove it, or set it to false" $other) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $extra := dict -}}
{{- $_ := include "weir.flatten" (list "" (.Values.extraConfig | default dict) $extra) -}}
{{- $config = mergeOverwrite $config $extra -}}
{{- if eq (include "weir.flowsTLS" (list $ $config)) "true" -}}
{{- $config = mergeOverwrite (dict "hubble.tls.certFile" "/var/lib/weir/tls/tls.crt" "hubble.tls.keyFile" "/var/lib/weir/tls/tls.key" "hubble.tls.clientCAFile" "/var/lib/weir/tls/ca.crt") $config -}}
{{- end -}}
{{- if eq (toString $config.routingMode) "native" -}}
{{- range $family := list "4" "6" -}}
{{- $key := printf "ipv%sNativeRoutingCIDR" $family -}}
{{- if and (eq (toString (get $config (printf "ipv%s.enabled" $family))) "true") (not (get $config $key)) -}}
{{- $errors = append $errors (printf "%s is empty, and routingMode is native: set it to the IPv%s range within which the underlay routes pod addresses" $key $family) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (ne (toString (get $config "ipv4.enabled")) "true") (ne (toString (get $config "ipv6.enabled")) "true") -}}
{{- $errors = append $errors "ipv4.enabled and ipv6.enabled are both false: set one of them to true" -}}
{{- end -}}
{{- dict "config" $config "warnings" $warnings "errors" $errors | toJson -}}
{{- end -}}

{{/* weir.flowsTLS: whether agents serve flows to the relay with certificates of the chart's. */}}
{{- define "weir.flowsTLS" -}}
{{- $config := index . 1 -}}
{{- and (index . 0).Values.hubble.relay.enabled (eq (toString (get $config "hubble.enabled")) "true") (ne (toString (get $config "hubble.tls.enabled")) "false") -}}
{{- end -}}

{{- define "weir.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* weir.labels: of everything; the argument is the component. */}}
{{- define "weir.labels" -}}
app.kubernetes.io/name: {{ . }}
app.kubernetes.io/part-of: weir
{{- end -}}

{{/* weir.list: a list, also if it was written as --set has it, "a,b". */}}
{{- define "weir.list" -}}
{{- if kindIs "string" . -}}
{{- . | replace " " "" | splitList "," | compact | toJson -}}
{{- else -}}
{{- . | default list | toJson -}}
{{- end -}}
{{- end -}}

{{/* weir.scraped: annotations of pods that Prometheus finds by them; the argument is the
     component's values of prometheus. */}}
{{- define "weir.scraped" -}}
{{- if and .enabled (not .serviceMonitor.enabled) -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end -}}
{{- end -}}

{{/* weir.monitor: a headless service and a ServiceMonitor; the argument is a list of the
     component, its values of prometheus, and the namespace. */}}
{{- define "weir.monitor" -}}
{{- $component := index . 0 -}}
{{- $values := index . 1 -}}
{{- $namespace := index . 2 -}}
{{- if and $values.enabled $values.serviceMonitor.enabled }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $component }}-metrics
  namespace: {{ $namespace }}
  labels:
    {{- include "weir.labels" (printf "%s-metrics" $component) | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {app.kubernetes.io/name: {{ $component }}}
  ports: [{name: metrics, port: {{ $values.port }}, protocol: TCP, targetPort: metrics}]
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ $component }}
  namespace: {{ $namespace }}
  labels:
    {{- include "weir.labels" $component | nindent 4 }}
spec:
  selector:
    matchLabels: {app.kubernetes.io/name: {{ $component }}-metrics}
  namespaceSelector: {matchNames: [{{ $namespace }}]}
  endpoints:
  - port: metrics
    path: /metrics
    relabelings:
    - {targetLabel: job, replacement: {{ $component }}}
    - {sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node}
{{- end -}}
{{- end -}}
