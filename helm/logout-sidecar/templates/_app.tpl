{{/* The app's own container, and where pods of this chart may run. */}}

{{- define "logout-sidecar.app" -}}
name: app
image: {{ .Values.app.image | quote }}
{{- with .Values.app.imagePullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
ports:
  - {name: app, containerPort: {{ .Values.app.port }}, protocol: TCP}
{{- range $key := list "command" "args" "env" "envFrom" "resources" "volumeMounts" "securityContext" "startupProbe" "livenessProbe" "readinessProbe" }}
{{- with get $.Values.app $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if .Values.app.lifecycle }}
lifecycle:
  {{- toYaml .Values.app.lifecycle | nindent 2 }}
{{- else if and (include "logout-sidecar.hasSleep" .) (gt (int (include "logout-sidecar.appPreStopSeconds" .)) 0) }}
lifecycle:
  preStop:
    sleep: {seconds: {{ include "logout-sidecar.appPreStopSeconds" . }}}
{{- end }}
{{- end }}

{{/* The group makes a volume writable for the sidecar's user. */}}
{{- define "logout-sidecar.podSecurityContext" -}}
{{- $group := ternary (dict "fsGroup" 65532 "fsGroupChangePolicy" "OnRootMismatch") dict (not (empty .Values.state.existingClaim)) }}
{{- toYaml (merge (deepCopy .Values.podSecurityContext) $group) }}
{{- end }}

{{- define "logout-sidecar.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with get $ $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
