{{/* Where urls with passwords come from: always a Secret, never a ConfigMap and never a plain value in a pod. */}}

{{/* The Secret that the chart makes of urls in the values. */}}
{{- define "reflow-tracing.connectionsName" -}}
{{- include "reflow-tracing.objectName" (dict "root" . "component" "connections") -}}
{{- end -}}

{{- define "reflow-tracing.natsAuthName" -}}
{{- default (include "reflow-tracing.objectName" (dict "root" . "component" "nats-auth")) .Values.nats.auth.existingSecret.name -}}
{{- end -}}

{{- define "reflow-tracing.postgresAuthName" -}}
{{- default (include "reflow-tracing.objectName" (dict "root" . "component" "postgres-auth")) .Values.postgres.auth.existingSecret.name -}}
{{- end -}}

{{/* Changes when a url or a password in the values does. What is in Secrets of others only they know. */}}
{{- define "reflow-tracing.connectionsChecksum" -}}
{{- printf "%s/%s/%s" (include "reflow-tracing.connectionsData" .) .Values.nats.auth.password .Values.postgres.auth.password | sha256sum -}}
{{- end -}}

{{/* A variable whose value is in a Secret. Dict: variable, secret, key. */}}
{{- define "reflow-tracing.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{/*
Dict: root, variable, section (with url and existingSecret), url, key (in the Secret that the chart makes). Nothing when
neither is set.
*/}}
{{- define "reflow-tracing.connectionVariable" -}}
{{- if .section.existingSecret.name }}
{{ include "reflow-tracing.secretVariable" (dict "variable" .variable "secret" .section.existingSecret.name "key" .section.existingSecret.key) }}
{{- else if .url }}
{{ include "reflow-tracing.secretVariable" (dict "variable" .variable "secret" (include "reflow-tracing.connectionsName" .root) "key" .key) }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.natsVariable" -}}
{{- if .Values.nats.enabled }}
{{ include "reflow-tracing.secretVariable" (dict "variable" "REFLOW_TRACING_NATS_URL" "secret" (include "reflow-tracing.natsAuthName" .) "key" "url") }}
{{- else }}
{{- include "reflow-tracing.connectionVariable" (dict "root" . "variable" "REFLOW_TRACING_NATS_URL" "section" .Values.bus "url" .Values.bus.url "key" "nats-url") }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.postgresVariable" -}}
{{- $store := .Values.store.postgres -}}
{{- if ne .Values.store.backend "postgres" }}
{{- else if .Values.postgres.enabled }}
{{ include "reflow-tracing.secretVariable" (dict "variable" "REFLOW_TRACING_POSTGRES_URL" "secret" (include "reflow-tracing.postgresAuthName" .) "key" "url") }}
{{- else }}
{{- include "reflow-tracing.connectionVariable" (dict "root" . "variable" "REFLOW_TRACING_POSTGRES_URL" "section" $store "url" $store.url "key" "postgres-url") }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.redisVariable" -}}
{{- include "reflow-tracing.connectionVariable" (dict "root" . "variable" "REFLOW_TRACING_REDIS_URL" "section" .Values.directory "url" .Values.directory.url "key" "redis-url") }}
{{- end -}}

{{- define "reflow-tracing.otlpVariable" -}}
{{- include "reflow-tracing.connectionVariable" (dict "root" . "variable" "REFLOW_TRACING_TELEMETRY__OTLP_ENDPOINT" "section" .Values.telemetry "url" .Values.telemetry.otlpEndpoint "key" "otlp-endpoint") }}
{{- end -}}

{{/*
A password: the one given, else the one that an earlier release made up, else a new one. It begins with a letter, because
nats-server reads a variable that looks like a number as one, and needs no escaping in a url. Dict: root, given, secret.
*/}}
{{- define "reflow-tracing.password" -}}
{{- $kept := dig "data" "password" "" (lookup "v1" "Secret" .root.Release.Namespace .secret | default dict) -}}
{{- if .given -}}
{{- .given -}}
{{- else if $kept -}}
{{- b64dec $kept -}}
{{- else -}}
{{- printf "p%s" (randAlphaNum 31) -}}
{{- end -}}
{{- end -}}
