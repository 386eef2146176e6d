{{/* The services' configuration file. */}}

{{/*
A service's settings as YAML: `config`, its own `config` over it, and what the chart decides itself. Dict: root, values.
*/}}
{{- define "reflow-tracing.config" -}}
{{- $root := .root -}}
{{- $config := mergeOverwrite (deepCopy $root.Values.config) (deepCopy (.values.config | default dict)) -}}
{{- $_ := set $config "bus" (mergeOverwrite ($config.bus | default dict) (dict "kind" "nats")) -}}
{{- if and $root.Values.nats.enabled (ge (int $root.Values.nats.replicas) 3) -}}
{{/* Three copies are what makes an ack outlive the power loss of a server; somebody's own choice goes before. */}}
{{- $nats := $config.bus.nats | default dict -}}
{{- if not (hasKey $nats "replicas") }}{{ $_ := set $nats "replicas" 3 }}{{ end -}}
{{- $_ := set $config.bus "nats" $nats -}}
{{- end -}}
{{- $_ := set $config "storage" (mergeOverwrite ($config.storage | default dict) (dict "backend" $root.Values.store.backend)) -}}
{{- if eq $root.Values.store.backend "sqlite" -}}
{{- $_ := set $config.storage "sqlite" (mergeOverwrite ($config.storage.sqlite | default dict) (dict "database_path" "/data/traces.db")) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/*
TOML of a map: plain keys, then its sections. JSON's notation of strings, numbers and booleans is TOML's as well, and keeps
large numbers whole, which toToml does not. Dict: values, path.
*/}}
{{- define "reflow-tracing.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .values -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ toJson $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .values -}}
{{- if kindIs "map" $value -}}
{{- $section := ternary $key (printf "%s.%s" $path $key) (empty $path) }}
[{{ $section }}]
{{- include "reflow-tracing.toml" (dict "values" $value "path" $section) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The data of a service's ConfigMap. Dict: root, component, values. */}}
{{- define "reflow-tracing.configFile" -}}
reflow-tracing.toml: |
  # Made by the chart from `config` and `{{ .component }}.config`.
  {{- include "reflow-tracing.toml" (dict "values" (include "reflow-tracing.config" . | fromYaml) "path" "") | nindent 2 }}
{{- end -}}

{{/* One setting by its path, as text. Dict: root, values, section, key. */}}
{{- define "reflow-tracing.setting" -}}
{{- $config := include "reflow-tracing.config" . | fromYaml -}}
{{- dig .section .key "" $config -}}
{{- end -}}

{{- define "reflow-tracing.port" -}}
{{- include "reflow-tracing.setting" (merge (dict "section" "server" "key" "port") .) | int -}}
{{- end -}}

{{- define "reflow-tracing.adminPort" -}}
{{- include "reflow-tracing.setting" (merge (dict "section" "metrics" "key" "port") .) | int -}}
{{- end -}}

{{- define "reflow-tracing.drainSeconds" -}}
{{- include "reflow-tracing.setting" (merge (dict "section" "limits" "key" "drain_deadline_secs") .) | int -}}
{{- end -}}

{{/*
What a pod needs from SIGTERM on is its drain deadline; before it come the seconds of preStop, which count; after it up to
two seconds in which what is left is cut off, logs and spans are flushed and the process ends. 5 leave room. Killed
earlier a pod would cut off what it could have acked: no loss, but clients send it again.
*/}}
{{- define "reflow-tracing.leastGrace" -}}
{{- add (int .values.preStopSeconds) (int (include "reflow-tracing.drainSeconds" .)) 5 -}}
{{- end -}}

{{- define "reflow-tracing.grace" -}}
{{- if kindIs "invalid" .values.terminationGracePeriodSeconds -}}
{{- include "reflow-tracing.leastGrace" . -}}
{{- else -}}
{{- int .values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}
