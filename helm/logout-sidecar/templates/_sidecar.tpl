{{/*
The sidecar as other templates use it, here or in a chart that depends on this one. There, the first argument is the
scope of this chart:

  {{ $sidecar := index .Subcharts "logout-sidecar" }}
  metadata.annotations         {{ include "logout-sidecar.annotations" $sidecar }}
  spec.initContainers          - {{ include "logout-sidecar.container" $sidecar }}    first; in `containers` if not native
  spec.volumes                 {{ include "logout-sidecar.volumes" $sidecar }}
  terminationGracePeriodSeconds {{ include "logout-sidecar.graceSeconds" $sidecar }}

The container and its volumes are those of `logout-sidecar inject`: see docs/kubernetes.md.
*/}}

{{/* "true" or nothing. */}}
{{- define "logout-sidecar.native" -}}
{{- $native := toString .Values.sidecar.native }}
{{- if or (eq $native "true") (and (eq $native "auto") (semverCompare ">=1.29-0" .Capabilities.KubeVersion.Version)) -}}
true
{{- end }}
{{- end }}

{{/* "true" where a hook may sleep by itself, without a program in the image. */}}
{{- define "logout-sidecar.hasSleep" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- end }}

{{/* How long a classic sidecar goes on before SIGTERM, so that balancers have noticed. A native one is ended last. */}}
{{- define "logout-sidecar.preStopSeconds" -}}
{{- ternary 0 5 (eq "true" (include "logout-sidecar.native" .)) }}
{{- end }}

{{/* How long the app goes on before SIGTERM: as long as requests may still come. */}}
{{- define "logout-sidecar.appPreStopSeconds" -}}
{{- add (include "logout-sidecar.preStopSeconds" .) (ceil (include "logout-sidecar.delay" .)) }}
{{- end }}

{{/* What the pod needs to end in order. A native sidecar begins when the app has ended; 5 s are to spare. */}}
{{- define "logout-sidecar.graceSeconds" -}}
{{- $first := ternary (include "logout-sidecar.appPreStopSeconds" .) (include "logout-sidecar.preStopSeconds" .) (eq "true" (include "logout-sidecar.native" .)) }}
{{- add $first (ceil (addf (include "logout-sidecar.delay" .) (include "logout-sidecar.timeout" .))) 5 }}
{{- end }}

{{/* Names of all Secrets, each once, as YAML. */}}
{{- define "logout-sidecar.secrets" -}}
{{- $mine := compact (list .Values.redis.existingSecret .Values.digestKey.existingSecret) }}
{{- toYaml (concat .Values.secrets $mine | uniq) }}
{{- end }}

{{- define "logout-sidecar.annotations" -}}
checksum/config: {{ include "logout-sidecar.configHash" . }}
logout-sidecar.io/status: injected
{{- end }}

{{- define "logout-sidecar.container" -}}
name: logout-sidecar
image: {{ include "logout-sidecar.image" . | quote }}
{{- with .Values.sidecar.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
args: [run, -c, /etc/logout-sidecar/sidecar.yaml]
env:
  - {name: APP_PORT, value: {{ .Values.app.port | quote }}}
  - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  {{- with .Values.sidecar.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  - {name: logout-http, containerPort: {{ include "logout-sidecar.listenPort" . }}, protocol: TCP}
  - {name: logout-ops, containerPort: {{ include "logout-sidecar.opsPort" . }}, protocol: TCP}
{{- if include "logout-sidecar.native" . }}
restartPolicy: Always
{{- else }}
lifecycle:
  preStop:
    {{- if include "logout-sidecar.hasSleep" . }}
    sleep: {seconds: {{ include "logout-sidecar.preStopSeconds" . }}}
    {{- else }}
    exec: {command: [python3, -c, import time; time.sleep({{ include "logout-sidecar.preStopSeconds" . }})]}
    {{- end }}
{{- end }}
startupProbe:
  httpGet: {path: /livez, port: {{ include "logout-sidecar.opsPort" . }}, scheme: HTTP}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: {{ include "logout-sidecar.opsPort" . }}, scheme: HTTP}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: {{ include "logout-sidecar.opsPort" . }}, scheme: HTTP}
  periodSeconds: 5
  timeoutSeconds: 2
resources:
  {{- toYaml .Values.sidecar.resources | nindent 2 }}
{{ include "logout-sidecar.securityContext" . }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  # The folder, never a subPath: that would not follow a change of the ConfigMap.
  - {name: logout-sidecar-config, mountPath: /etc/logout-sidecar, readOnly: true}
  - {name: logout-sidecar-state, mountPath: /var/lib/logout-sidecar}
  - {name: logout-sidecar-tmp, mountPath: /tmp}
  # An empty folder where the service account's token would be: the sidecar never talks to the API server.
  - {name: logout-sidecar-tmp, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, subPath: no-token, readOnly: true}
  {{- range $index, $name := include "logout-sidecar.secrets" . | fromYamlArray }}
  - {name: logout-sidecar-secret-{{ $index }}, mountPath: {{ printf "/run/secrets/%s" $name }}, readOnly: true}
  {{- end }}
  {{- with .Values.sidecar.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The restricted Pod Security Standard, and a read-only root. */}}
{{- define "logout-sidecar.securityContext" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "logout-sidecar.volumes" -}}
- {name: logout-sidecar-config, configMap: {name: {{ include "logout-sidecar.fullname" . }}, defaultMode: 0444}}
{{- if .Values.state.existingClaim }}
- {name: logout-sidecar-state, persistentVolumeClaim: {claimName: {{ .Values.state.existingClaim }}}}
{{- else }}
- {name: logout-sidecar-state, emptyDir: {}}
{{- end }}
- {name: logout-sidecar-tmp, emptyDir: {}}
{{- range $index, $name := include "logout-sidecar.secrets" . | fromYamlArray }}
- {name: logout-sidecar-secret-{{ $index }}, secret: {secretName: {{ $name }}, defaultMode: 0444}}
{{- end }}
{{- end }}
