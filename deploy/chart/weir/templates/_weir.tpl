{{/* What templates share. */}}

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
{{- else if or (not .) (kindIs "slice" .) -}}
{{- . | default list | toJson -}}
{{- else -}}
{{- list . | toJson -}}
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

{{/* weir.prometheus: {enabled, port, serviceMonitor} of agents; the argument is a list of
     weir.yaml and the values of prometheus. */}}
{{- define "weir.prometheus" -}}
{{- $config := index . 0 -}}
{{- dict "enabled" (eq (toString (get $config "prometheus.enabled")) "true") "port" (int (get $config "prometheus.port")) "serviceMonitor" (index . 1).serviceMonitor | toJson -}}
{{- end -}}

{{/* weir.relayScraped: the same for the relay, which is scraped where agents are. */}}
{{- define "weir.relayScraped" -}}
{{- set (include "weir.prometheus" . | fromJson) "port" 9966 | toJson -}}
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
