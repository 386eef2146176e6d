{{/* Names and labels. Selectors hold only what never changes: a Deployment's selector cannot be updated. */}}

{{- define "reflow-tracing.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/*
At most 40 characters, so that every object's name, and the labels that Kubernetes makes of names (a StatefulSet's name and a
hash), stay within 63. What is cut ends in a hash: two releases with long names remain two. A release's name may have dots, a Service's not.
*/}}
{{- define "reflow-tracing.fullname" -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | replace "." "-" -}}
{{- end -}}
{{- if gt (len $full) 40 -}}
{{- printf "%s-%s" (trunc 31 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- else -}}
{{- $full | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Everything below takes a dict: root, component. */}}
{{- define "reflow-tracing.objectName" -}}
{{- printf "%s-%s" (include "reflow-tracing.fullname" .root) .component -}}
{{- end -}}

{{- define "reflow-tracing.selectorLabels" -}}
app.kubernetes.io/name: {{ include "reflow-tracing.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* `more`, where it is there, are further labels, which go before `commonLabels`. */}}
{{- define "reflow-tracing.labels" -}}
{{ include "reflow-tracing.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: reflow-tracing
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with mergeOverwrite (deepCopy .root.Values.commonLabels) (deepCopy (.more | default dict)) }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name, namespace and labels of an object. */}}
{{- define "reflow-tracing.metadata" -}}
name: {{ include "reflow-tracing.objectName" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "reflow-tracing.labels" . | nindent 2 }}
{{- end -}}

{{/* registry/repository:tag, or @digest. Dict: root, image (repository, tag, digest). */}}
{{- define "reflow-tracing.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.image.registry }}{{ $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}{{ end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (coalesce .image.tag .root.Values.image.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The same for images of others, which keep their own registry. */}}
{{- define "reflow-tracing.foreignImage" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end -}}
{{- end -}}

{{/* Dict: root, component, values. */}}
{{- define "reflow-tracing.serviceAccountName" -}}
{{- if .values.serviceAccount.create -}}
{{- default (include "reflow-tracing.objectName" .) .values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
