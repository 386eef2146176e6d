{{/* Whole objects that collector, writer and query have alike. Every helper takes a dict: root, component, values. */}}

{{- define "reflow-tracing.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "reflow-tracing.serviceAccountName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "reflow-tracing.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* maxUnavailable, never minAvailable: with one replica `minAvailable: 1` blocks the drain of its node for ever. */}}
{{- define "reflow-tracing.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "reflow-tracing.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  # A pod that never became ready protects nothing; it must not hold up a node either.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "reflow-tracing.selectorLabels" . | nindent 6 }}
{{- end -}}

{{- define "reflow-tracing.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "reflow-tracing.metadata" . | nindent 2 }}
data:
  {{- include "reflow-tracing.configFile" . | nindent 2 }}
{{- end -}}

{{/* One port for clients, one for metrics. */}}
{{- define "reflow-tracing.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "reflow-tracing.metadata" . | nindent 2 }}
  {{- with .values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.service.type }}
  selector:
    {{- include "reflow-tracing.selectorLabels" . | nindent 4 }}
  ports:
    - name: protocol
      port: {{ .values.service.port }}
      targetPort: protocol
      protocol: TCP
      # Tells gateways that an upgrade to WebSocket is to be let through.
      appProtocol: kubernetes.io/ws
    - name: metrics
      port: {{ include "reflow-tracing.adminPort" . }}
      targetPort: admin
      protocol: TCP
{{- end -}}

{{/* A WebSocket is quiet between pings; controllers close after a minute unless told otherwise. */}}
{{- define "reflow-tracing.ingress" -}}
{{- $ingress := .values.ingress -}}
{{- $timeout := int $ingress.websocketTimeoutSecs -}}
{{- $annotations := dict -}}
{{- if eq $ingress.controller "nginx" -}}
{{- $annotations = dict "nginx.ingress.kubernetes.io/proxy-read-timeout" (toString $timeout) "nginx.ingress.kubernetes.io/proxy-send-timeout" (toString $timeout) -}}
{{- else if eq $ingress.controller "haproxy" -}}
{{/* The first is HAProxy Technologies' controller, the second the community's. */}}
{{- $annotations = dict "haproxy.org/timeout-tunnel" (printf "%ds" $timeout) "haproxy-ingress.github.io/timeout-tunnel" (printf "%ds" $timeout) -}}
{{- end -}}
{{- $annotations = mergeOverwrite $annotations (deepCopy $ingress.annotations) -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "reflow-tracing.metadata" . | nindent 2 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $ingress.tlsSecret }}
  tls:
    - hosts: [{{ $ingress.host | quote }}]
      secretName: {{ . }}
  {{- end }}
  rules:
    - host: {{ $ingress.host | quote }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ include "reflow-tracing.objectName" . }}
                port:
                  name: protocol
{{- end -}}

{{/* `0s` turns the gateway's timeouts off: the request that became a WebSocket lasts as long as its program. */}}
{{- define "reflow-tracing.httpRoute" -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "reflow-tracing.metadata" . | nindent 2 }}
  {{- with .values.httpRoute.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  parentRefs:
    {{- toYaml .values.httpRoute.parentRefs | nindent 4 }}
  {{- with .values.httpRoute.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /
      timeouts:
        request: 0s
        backendRequest: 0s
      backendRefs:
        - name: {{ include "reflow-tracing.objectName" . }}
          port: {{ .values.service.port }}
{{- end -}}

{{/* By processor. Dict: root, component, values, and metrics: more of them as text. */}}
{{- define "reflow-tracing.horizontalPodAutoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "reflow-tracing.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "reflow-tracing.objectName" . }}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .values.autoscaling.cpuPercent }}
    {{- with .metrics }}
    {{- . | nindent 4 }}
    {{- end }}
  behavior:
    # Up at once, down slowly: every pod that goes sends its clients to reconnect.
    scaleUp:
      stabilizationWindowSeconds: 0
      policies:
        - type: Percent
          value: 100
          periodSeconds: 30
    scaleDown:
      stabilizationWindowSeconds: 300
      policies:
        - type: Pods
          value: 1
          periodSeconds: 60
{{- end -}}

{{- define "reflow-tracing.serviceMonitor" -}}
{{- $monitor := .root.Values.monitoring.serviceMonitor -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "reflow-tracing.metadata" (merge (dict "more" $monitor.labels) .) | nindent 2 }}
spec:
  # `collector`, `writer`, `query`: what dashboards show as job.
  jobLabel: app.kubernetes.io/component
  selector:
    matchLabels:
      {{- include "reflow-tracing.selectorLabels" . | nindent 6 }}
  endpoints:
    - port: metrics
      path: {{ include "reflow-tracing.setting" (merge (dict "section" "metrics" "key" "endpoint") .) }}
      interval: {{ $monitor.interval }}
{{- end -}}
