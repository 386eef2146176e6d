{{/* What the pods of collector, writer and query have in common. Every helper takes a dict: root, component, values. */}}

{{- define "reflow-tracing.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.security }}
{{- if not (kindIs "invalid" .runAsUser) }}
runAsUser: {{ int .runAsUser }}
{{- end }}
{{- if not (kindIs "invalid" .runAsGroup) }}
runAsGroup: {{ int .runAsGroup }}
{{- end }}
{{- if not (kindIs "invalid" .fsGroup) }}
fsGroup: {{ int .fsGroup }}
# Only when the owner of a volume is wrong: else every start would walk through it.
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "reflow-tracing.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Changes with whatever a pod reads at its start, so that an upgrade restarts it. */}}
{{- define "reflow-tracing.podMetadata" -}}
annotations:
  checksum/config: {{ include "reflow-tracing.configFile" . | sha256sum }}
  checksum/connections: {{ include "reflow-tracing.connectionsChecksum" .root }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  {{- include "reflow-tracing.labels" (merge (dict "more" .values.podLabels) .) | nindent 2 }}
{{- end -}}

{{- define "reflow-tracing.podBasics" -}}
serviceAccountName: {{ include "reflow-tracing.serviceAccountName" . }}
automountServiceAccountToken: false
# A Service named like a setting would set it: Kubernetes writes REFLOW_TRACING_PORT=tcp://… for one called reflow-tracing.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
# preStop ({{ .values.preStopSeconds }} s) + drain deadline ({{ include "reflow-tracing.drainSeconds" . }} s) + 5 s for the end, at least.
terminationGracePeriodSeconds: {{ include "reflow-tracing.grace" . }}
securityContext:
  {{- include "reflow-tracing.podSecurity" .root | nindent 2 }}
{{- end -}}

{{- define "reflow-tracing.scheduling" -}}
{{- if .values.topologySpread }}
# Spread where it can be: a cluster of one node or one zone runs all pods there. Only pods of the same revision are
# counted, so that the old ones do not push the new ones aside while an upgrade runs.
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "reflow-tracing.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "reflow-tracing.containerBasics" -}}
image: {{ include "reflow-tracing.image" (dict "root" .root "image" .values.image) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "reflow-tracing.containerSecurity" . | nindent 2 }}
{{- end -}}

{{/* The variables of every service; what only one needs follows it. */}}
{{- define "reflow-tracing.environment" -}}
- name: REFLOW_TRACING_CONFIG_FILE
  value: /etc/reflow-tracing/reflow-tracing.toml
# Again, because the images set it, and a variable goes before the file.
- name: REFLOW_TRACING_HOST
  value: {{ include "reflow-tracing.setting" (merge (dict "section" "server" "key" "host") .) | quote }}
- name: RUST_LOG
  value: {{ .root.Values.logLevel | quote }}
{{- include "reflow-tracing.natsVariable" .root }}
{{- include "reflow-tracing.otlpVariable" .root }}
{{- range $name, $value := .values.extraEnv }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/*
Alive asks only whether the process answers: an outage of NATS or Postgres must not make Kubernetes kill what waits for it.
Ready is true once bus and schema were seen, stays so during outages, and turns false when a drain begins. A pod waits for its
servers as long as it takes, so there is no startup probe that would end the wait.
*/}}
{{- define "reflow-tracing.probes" -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: admin
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
  periodSeconds: 3
  timeoutSeconds: 2
  failureThreshold: 2
{{- if gt (int .values.preStopSeconds) 0 }}
{{- if eq .component "writer" }}
# Nobody connects to a writer, so nobody has to hear of its end first. It goes on storing until the one in its place has begun to
# pull, so that what waits on the bus does not grow. Kubernetes itself waits: the images have no shell and no `sleep`.
{{- else }}
# Endpoints are taken out of proxies a moment after a pod is told to end. Until then it goes on accepting, so that nobody
# who connects meanwhile is refused. Kubernetes itself waits: the images have no shell and no `sleep`.
{{- end }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ int .values.preStopSeconds }}
{{- end }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
{{- end -}}

{{/* Where the configuration file is read, and in a writer or a query service over SQLite, its folder. */}}
{{- define "reflow-tracing.configMount" -}}
- name: config
  mountPath: /etc/reflow-tracing
  readOnly: true
{{- end -}}

{{- define "reflow-tracing.configVolume" -}}
- name: config
  configMap:
    name: {{ include "reflow-tracing.objectName" . }}
{{- end -}}

{{- define "reflow-tracing.sqliteMount" -}}
{{- if eq .Values.store.backend "sqlite" }}
- name: data
  mountPath: /data
{{- end }}
{{- end -}}

{{- define "reflow-tracing.sqliteVolume" -}}
{{- if eq .Values.store.backend "sqlite" }}
- name: data
  persistentVolumeClaim:
    claimName: {{ default (include "reflow-tracing.objectName" (dict "root" . "component" "data")) .Values.store.sqlite.existingClaim }}
{{- end }}
{{- end -}}
