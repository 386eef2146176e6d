{{/*
What a schema cannot say: values that contradict each other. Every helper prints its mistakes, one a line; checks.yaml gathers
them all and fails once, so that nobody has to find them one by one.
*/}}

{{- define "reflow-tracing.checks.connections" -}}
{{- $bus := 0 }}
{{- range list .Values.nats.enabled .Values.bus.url .Values.bus.existingSecret.name }}{{ if . }}{{ $bus = add1 $bus }}{{ end }}{{ end }}
{{- if eq $bus 0 }}
there is no bus: set bus.url or bus.existingSecret.name for a NATS of yours, or nats.enabled=true to have one made
{{- else if gt $bus 1 }}
there is more than one bus: set one of nats.enabled, bus.url and bus.existingSecret.name
{{- end }}
{{- $store := 0 }}
{{- range list .Values.postgres.enabled .Values.store.postgres.url .Values.store.postgres.existingSecret.name }}{{ if . }}{{ $store = add1 $store }}{{ end }}{{ end }}
{{- if and (eq .Values.store.backend "postgres") (eq $store 0) }}
there is no store: set store.postgres.url or store.postgres.existingSecret.name for a Postgres of yours, or postgres.enabled=true to try out with one that is made
{{- else if gt $store 1 }}
there is more than one Postgres: set one of postgres.enabled, store.postgres.url and store.postgres.existingSecret.name
{{- else if and (eq .Values.store.backend "sqlite") (gt $store 0) }}
store.backend is sqlite, but a Postgres is set as well: leave out one of them
{{- end }}
{{- if and .Values.directory.url .Values.directory.existingSecret.name }}
directory.url and directory.existingSecret.name are both set: leave out one of them
{{- end }}
{{- if and .Values.telemetry.otlpEndpoint .Values.telemetry.existingSecret.name }}
telemetry.otlpEndpoint and telemetry.existingSecret.name are both set: leave out one of them
{{- end }}
{{- end -}}

{{- define "reflow-tracing.checks.sqlite" -}}
{{- if eq .Values.store.backend "sqlite" }}
{{- range $component := list "writer" "query" }}
{{- $values := index $.Values $component }}
{{- if or (gt (int $values.replicas) 1) $values.autoscaling.enabled }}
store.backend is sqlite, whose file one pod can {{ ternary "write" "read beside it" (eq $component "writer") }}: set {{ $component }}.replicas to 1 and {{ $component }}.autoscaling.enabled to false, or use Postgres
{{- end }}
{{- end }}
{{- if .Values.writer.keda.enabled }}
store.backend is sqlite, whose file one pod can write: set writer.keda.enabled to false, or use Postgres
{{- end }}
{{- if .Values.query.affinity.podAffinity }}
query.affinity.podAffinity is set, but with sqlite the chart sets it: query has to run on the writer's node
{{- end }}
{{- end }}
{{- end -}}

{{/* Dict: root, component, values. */}}
{{- define "reflow-tracing.checks.pods" -}}
{{- $least := int (include "reflow-tracing.leastGrace" .) }}
{{- $grace := int (include "reflow-tracing.grace" .) }}
{{- if lt $grace $least }}
{{ .component }}.terminationGracePeriodSeconds is {{ $grace }}, but preStop, drain deadline and the end take {{ $least }}: raise it or lower limits.drain_deadline_secs
{{- end }}
{{- $autoscaling := .values.autoscaling }}
{{- if and $autoscaling.enabled (gt (int $autoscaling.minReplicas) (int $autoscaling.maxReplicas)) }}
{{ .component }}.autoscaling.minReplicas is above maxReplicas
{{- end }}
{{- if eq (include "reflow-tracing.port" .) (include "reflow-tracing.adminPort" .) }}
server.port and metrics.port of {{ .component }} are both {{ include "reflow-tracing.port" . }}: give one another number
{{- end }}
{{- if .values.service }}
{{- if eq (int .values.service.port) (int (include "reflow-tracing.adminPort" .)) }}
{{ .component }}.service.port is {{ .values.service.port }}, which the Service uses for metrics: choose another
{{- end }}
{{- end }}
{{- with .values.ingress }}
{{- if .enabled }}
{{- $ping := int (include "reflow-tracing.setting" (merge (dict "section" "limits" "key" "ping_interval_secs") $)) }}
{{- if not .host }}
{{ $.component }}.ingress.enabled needs {{ $.component }}.ingress.host: protocol and page are at `/`, which every other host has as well
{{- end }}
{{- if le (int .websocketTimeoutSecs) $ping }}
{{ $.component }}.ingress.websocketTimeoutSecs is {{ .websocketTimeoutSecs }}, but pings come only every {{ $ping }} s: raise it, or quiet connections are closed
{{- end }}
{{- end }}
{{- end }}
{{- with .values.httpRoute }}
{{- if and .enabled (not .parentRefs) }}
{{ $.component }}.httpRoute.enabled needs {{ $.component }}.httpRoute.parentRefs: the gateway to attach to
{{- end }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.checks.scaling" -}}
{{- $collector := dict "root" . "component" "collector" "values" .Values.collector }}
{{- $most := int (include "reflow-tracing.setting" (merge (dict "section" "server" "key" "max_connections") $collector)) }}
{{- with .Values.collector.autoscaling }}
{{- if and .enabled .connections.enabled (ge (int .connections.perPod) $most) }}
collector.autoscaling.connections.perPod is {{ .connections.perPod }}, but a pod refuses more than {{ $most }} connections: set it well below
{{- end }}
{{- end }}
{{- with .Values.writer.keda }}
{{- if and .enabled $.Values.writer.autoscaling.enabled }}
writer.keda.enabled and writer.autoscaling.enabled would both set the number of writers: choose one
{{- end }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
writer.keda.minReplicas is above maxReplicas
{{- end }}
{{- if and .enabled (eq .trigger "nats-jetstream") (not (include "reflow-tracing.natsMonitoring" $)) }}
writer.keda.trigger is nats-jetstream: set writer.keda.natsMonitoring to host:8222 of your NATS, or choose prometheus
{{- end }}
{{- if and .enabled (eq .trigger "prometheus") (not .prometheusAddress) }}
writer.keda.trigger is prometheus: set writer.keda.prometheusAddress
{{- end }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.checks.inChart" -}}
{{- if .Values.nats.enabled }}
{{- $config := include "reflow-tracing.config" (dict "root" . "values" .Values.collector) | fromYaml }}
{{- $wanted := add (int64 $config.bus.nats.stream_max_bytes) (int64 $config.bus.nats.dead_max_bytes) }}
{{- $has := int64 (include "reflow-tracing.nats.storeBytes" .) }}
{{- if gt $wanted $has }}
the streams take {{ $wanted }} bytes (config.bus.nats), but nats.storage.sizeGi leaves JetStream {{ $has }}: raise it
{{- end }}
{{- if gt (int (dig "bus" "nats" "replicas" 1 $config)) (int .Values.nats.replicas) }}
config.bus.nats.replicas is {{ $config.bus.nats.replicas }}, but nats.replicas is {{ .Values.nats.replicas }}: a stream has at most one copy a server
{{- end }}
{{- end }}
{{- if .Values.postgres.enabled }}
{{- $connections := 0 }}
{{- range $component := list "writer" "query" }}
{{- $values := index $.Values $component }}
{{- $pods := ternary $values.autoscaling.maxReplicas $values.replicas $values.autoscaling.enabled }}
{{- if and (eq $component "writer") $values.keda.enabled }}{{ $pods = $values.keda.maxReplicas }}{{ end }}
{{- $config := include "reflow-tracing.config" (dict "root" $ "values" $values) | fromYaml }}
{{- /* A quarter more while an upgrade runs, rounded up. */}}
{{- $pods = add (int $pods) (div (add (int $pods) 3) 4) }}
{{- $connections = add $connections (mul $pods (int $config.storage.postgres.max_connections)) }}
{{- end }}
{{- if gt (add $connections 10) (int .Values.postgres.maxConnections) }}
writers and query services may open {{ $connections }} connections during an upgrade, and 10 are kept for people and the migration, but postgres.maxConnections is {{ .Values.postgres.maxConnections }}: raise it or lower config.storage.postgres.max_connections
{{- end }}
{{- end }}
{{- end -}}

{{/* A url that the chart knows, and the port that policies let through. What only a Secret knows cannot be compared. */}}
{{- define "reflow-tracing.checks.policies" -}}
{{- if .Values.networkPolicy.enabled }}
{{- $urls := dict "nats" .Values.bus.url "postgres" .Values.store.postgres.url "redis" .Values.directory.url "otlp" .Values.telemetry.otlpEndpoint }}
{{- $usual := dict "nats" "4222" "postgres" "5432" "redis" "6379" "otlp" "4317" }}
{{- range $server, $url := $urls }}
{{- $open := index $.Values.networkPolicy.ports $server | int | toString }}
{{- range compact (splitList "," $url) }}
{{- /* Without `scheme://user:password@`, and without a path. */}}
{{- $host := regexReplaceAll "[/?].*$" (regexReplaceAll "^([a-z]+://)?([^@/]*@)?" . "") "" }}
{{- $port := trimPrefix ":" (regexFind ":[0-9]+$" $host) | default (index $usual $server) }}
{{- if ne $port $open }}
networkPolicy.ports.{{ $server }} is {{ $open }}, but its url leads to port {{ $port }}: set them to the same
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.checks.names" -}}
{{- $name := include "reflow-tracing.fullname" . }}
{{- if not (regexMatch "^[a-z]" $name) }}
everything would be called {{ $name }}…, but the name of a Service begins with a letter: call the release otherwise or set fullnameOverride
{{- end }}
{{- end -}}

{{/* Protocol and page are both at `/`: one host, or one gateway, leads to one of them. */}}
{{- define "reflow-tracing.checks.addresses" -}}
{{- $collector := .Values.collector }}
{{- $query := .Values.query }}
{{- if and $collector.ingress.enabled $query.ingress.enabled $collector.ingress.host }}
{{- if and (eq $collector.ingress.host $query.ingress.host) (eq $collector.ingress.className $query.ingress.className) }}
collector.ingress.host and query.ingress.host are both {{ $query.ingress.host }}, and both services are at `/`: give each a host of its own
{{- end }}
{{- end }}
{{- if and $collector.httpRoute.enabled $query.httpRoute.enabled }}
{{- $taken := include "reflow-tracing.checks.routes" $collector.httpRoute | fromJsonArray }}
{{- range include "reflow-tracing.checks.routes" $query.httpRoute | fromJsonArray }}
{{- if has . $taken }}
collector.httpRoute and query.httpRoute both lead {{ . }} to `/`: give each hostnames of its own
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What a route takes, as JSON: each host name at each gateway. */}}
{{- define "reflow-tracing.checks.routes" -}}
{{- $routes := list }}
{{- $hostnames := .hostnames | default (list "every host") }}
{{- range $parent := .parentRefs }}
{{- range $hostnames }}
{{- $routes = append $routes (printf "%s of gateway %s" . (compact (list $parent.namespace $parent.name $parent.sectionName) | join "/")) }}
{{- end }}
{{- end }}
{{- toJson $routes }}
{{- end -}}

{{- define "reflow-tracing.checks" -}}
{{- include "reflow-tracing.checks.names" . }}
{{- include "reflow-tracing.checks.addresses" . }}
{{- include "reflow-tracing.checks.connections" . }}
{{- include "reflow-tracing.checks.sqlite" . }}
{{- range $component := list "collector" "writer" "query" }}
{{- include "reflow-tracing.checks.pods" (dict "root" $ "component" $component "values" (index $.Values $component)) }}
{{- end }}
{{- include "reflow-tracing.checks.policies" . }}
{{- include "reflow-tracing.checks.scaling" . }}
{{- include "reflow-tracing.checks.inChart" . }}
{{- end -}}
