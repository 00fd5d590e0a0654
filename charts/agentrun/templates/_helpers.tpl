{{/* Labels of everything. Call with (dict "context" $ "component" "hub"); the component may be missing. */}}
{{- define "agentrun.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
{{ include "agentrun.selector" . }}
{{- end }}

{{/* Labels that select a component's pods; they never change between versions. */}}
{{- define "agentrun.selector" -}}
app.kubernetes.io/name: agentrun
app.kubernetes.io/instance: {{ .context.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* An image's reference. Call with (dict "context" $ "component" "hub"). */}}
{{- define "agentrun.image" -}}
{{- $own := (get .context.Values .component).image -}}
{{- $repository := $own.repository | default (printf "%s/agentrun-%s" .context.Values.image.repository .component) -}}
{{- $tag := $own.tag | default .context.Values.image.tag | default .context.Chart.AppVersion -}}
{{- if $own.digest }}{{ $repository }}@{{ $own.digest }}{{ else }}{{ $repository }}:{{ $tag }}{{ end -}}
{{- end }}

{{/* What Pod Security's level "restricted" asks of a pod. */}}
{{- define "agentrun.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What Pod Security's level "restricted" asks of a container. */}}
{{- define "agentrun.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Probes on the port for metrics. */}}
{{- define "agentrun.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end }}

{{/* The Secrets with the certificates. */}}
{{- define "agentrun.webhookSecret" -}}
{{- if eq .Values.certificates.mode "existingSecret" -}}
{{ required "certificates.existingSecret.webhook: name the Secret with the webhook's certificate" .Values.certificates.existingSecret.webhook }}
{{- else -}}
agentrun-webhook-tls
{{- end -}}
{{- end }}
{{- define "agentrun.hubSecret" -}}
{{- if eq .Values.certificates.mode "existingSecret" -}}
{{ required "certificates.existingSecret.hub: name the Secret with the hub's certificate" .Values.certificates.existingSecret.hub }}
{{- else -}}
agentrun-hub-tls
{{- end -}}
{{- end }}

{{/* Namespaces whose pods are left alone, as a JSON list. */}}
{{- define "agentrun.excludedNamespaces" -}}
{{ concat (list "kube-system" .Release.Namespace) .Values.webhook.excludedNamespaces | uniq | toJson }}
{{- end }}
