{{/* Names and labels. */}}

{{- define "logout-sidecar.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Leaves room for the longest suffix, so that two objects never get the same name by truncation. */}}
{{- define "logout-sidecar.fullname" -}}
{{- $name := include "logout-sidecar.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "logout-sidecar.selectorLabels" -}}
app.kubernetes.io/name: {{ include "logout-sidecar.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "logout-sidecar.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "logout-sidecar.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The pods that have the sidecar: those of this release, or those that the values name. */}}
{{- define "logout-sidecar.podLabels" -}}
{{- if eq .Values.mode "app" -}}
{{ include "logout-sidecar.selectorLabels" . }}
app.kubernetes.io/component: app
{{- else -}}
{{ toYaml .Values.podSelector }}
{{- end }}
{{- end }}

{{- define "logout-sidecar.image" -}}
{{- $image := .Values.sidecar.image }}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end }}
{{- end }}
