{{/* Rules that several NetworkPolicies share. Probes of the kubelet come from the node, which policies let through. */}}

{{/* Dict: root, component. The head of a policy, up to its rules. */}}
{{- define "reflow-tracing.policy.head" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "reflow-tracing.metadata" . | nindent 2 }}
  {{- with .annotations }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  podSelector:
    matchLabels:
      {{- include "reflow-tracing.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end -}}

{{/* Pods of this release. Dict: root, components. */}}
{{- define "reflow-tracing.policy.pods" -}}
{{- $root := .root -}}
{{- range .components }}
- podSelector:
    matchLabels:
      {{- include "reflow-tracing.selectorLabels" (dict "root" $root "component" .) | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Port 53, wherever the cluster's DNS is. */}}
{{- define "reflow-tracing.policy.dns" -}}
- ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end -}}

{{/* To a server: the one of this release, or any at its port, whose address only a Secret knows. Dict: root, inside, component, port. */}}
{{- define "reflow-tracing.policy.to" -}}
- ports:
    - protocol: TCP
      port: {{ .port }}
  {{- if .inside }}
  to:
    {{- include "reflow-tracing.policy.pods" (dict "root" .root "components" (list .component)) | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "reflow-tracing.policy.toNats" -}}
{{- include "reflow-tracing.policy.to" (dict "root" . "inside" .Values.nats.enabled "component" "nats" "port" (ternary 4222 (int .Values.networkPolicy.ports.nats) .Values.nats.enabled)) }}
{{- end -}}

{{- define "reflow-tracing.policy.toPostgres" -}}
{{- if eq .Values.store.backend "postgres" }}
{{ include "reflow-tracing.policy.to" (dict "root" . "inside" .Values.postgres.enabled "component" "postgres" "port" (ternary 5432 (int .Values.networkPolicy.ports.postgres) .Values.postgres.enabled)) }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.policy.toRedis" -}}
{{- if or .Values.directory.url .Values.directory.existingSecret.name }}
{{ include "reflow-tracing.policy.to" (dict "root" . "inside" false "port" .Values.networkPolicy.ports.redis) }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.policy.toOtlp" -}}
{{- if or .Values.telemetry.otlpEndpoint .Values.telemetry.existingSecret.name }}
- ports:
    - protocol: TCP
      port: {{ .Values.networkPolicy.ports.otlp }}
{{- end }}
{{- end -}}

{{/* Dict: port, from; an empty `from` is everybody. */}}
{{- define "reflow-tracing.policy.from" -}}
- ports:
    - protocol: TCP
      port: {{ .port }}
  {{- with .from }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* `helm test` may use what it is to test, whoever else may. Dict: root, port, from. */}}
{{- define "reflow-tracing.policy.fromClients" -}}
{{ include "reflow-tracing.policy.from" . }}
{{- if and .from .root.Values.roundTrip.enabled }}
- ports:
    - protocol: TCP
      port: {{ .port }}
  from:
    {{- include "reflow-tracing.policy.pods" (dict "root" .root "components" (list "round-trip")) | nindent 4 }}
{{- end }}
{{- end -}}
