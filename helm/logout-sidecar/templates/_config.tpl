{{/* The sidecar's configuration, and what the chart reads from it: so nothing is said twice. */}}

{{- define "logout-sidecar.config" -}}
{{- $store := dict }}
{{- with .Values.redis.url }}{{ $_ := set $store "url" . }}{{ end }}
{{- with .Values.redis }}
{{- if .existingSecret }}{{ $_ := set $store "password" (dict "file" (printf "/run/secrets/%s/%s" .existingSecret .passwordKey)) }}{{ end }}
{{- end }}
{{- with .Values.digestKey }}
{{- if .existingSecret }}{{ $_ := set $store "secret" (dict "file" (printf "/run/secrets/%s/%s" .existingSecret .key)) }}{{ end }}
{{- end }}
{{- $upstream := dict "url" "http://127.0.0.1:${APP_PORT}" }}
{{- /* The policy keeps everybody away from the app's port; NOTES.txt says how to see that it works. */}}
{{- if .Values.networkPolicy.enabled }}{{ $_ := set $upstream "exposed" "accept" }}{{ end }}
{{- $filled := dict "upstream" $upstream }}
{{- if not .Values.hotReload }}{{ $_ := set $filled "reload" (dict "poll" nil) }}{{ end }}
{{- if $store }}{{ $_ := set $filled "store" $store }}{{ end }}
{{- toYaml (mustMerge (deepCopy .Values.config) $filled) }}
{{- end }}

{{/* One setting of the configuration, or its default: dict "config" "section" "key" "default". */}}
{{- define "logout-sidecar.setting" -}}
{{- $section := get .config .section | default dict }}
{{- get $section .key | default .default }}
{{- end }}

{{- define "logout-sidecar.listenPort" -}}
{{- include "logout-sidecar.port" (list "config.listen" (default "0.0.0.0:4180" .Values.config.listen)) }}
{{- end }}

{{- define "logout-sidecar.opsPort" -}}
{{- include "logout-sidecar.port" (list "config.ops.listen" (include "logout-sidecar.setting" (dict "config" .Values.config "section" "ops" "key" "listen" "default" "0.0.0.0:4181"))) }}
{{- end }}

{{/* 0: a Unix socket, or only the environment knows. */}}
{{- define "logout-sidecar.relayPort" -}}
{{- $address := include "logout-sidecar.setting" (dict "config" .Values.config "section" "control" "key" "relay_listen" "default" "127.0.0.1:4183") }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $address) | default "0" }}
{{- end }}

{{/* The pod has to be reached there from outside. */}}
{{- define "logout-sidecar.port" -}}
{{- $address := index . 1 }}
{{- if not (regexMatch ":[0-9]+$" $address) }}
{{- fail (printf "%s: the chart has to know the port, so %q must end in one, such as 0.0.0.0:4180" (index . 0) $address) }}
{{- else if regexMatch "^(127\\.|localhost:|\\[::1\\])" $address }}
{{- fail (printf "%s: %q is reached from inside the pod only; use 0.0.0.0" (index . 0) $address) }}
{{- end }}
{{- regexFind "[0-9]+$" $address }}
{{- end }}

{{/* Seconds of a setting below drain, with their fraction: dict "config" "key" "default". */}}
{{- define "logout-sidecar.drainSeconds" -}}
{{- $written := include "logout-sidecar.setting" (dict "config" .config "section" "drain" "key" .key "default" .default) }}
{{- $unit := regexFind "[a-z]+$" $written }}
{{- if not (regexMatch "^[0-9.]+(ms|s|m|h|d)$" $written) }}
{{- fail (printf "config.drain.%s: the chart computes the grace period of the pod from it, so it must be a duration such as %s" .key .default) }}
{{- end }}
{{- mulf (trimSuffix $unit $written) (get (dict "ms" "0.001" "s" "1" "m" "60" "h" "3600" "d" "86400") $unit) }}
{{- end }}

{{- define "logout-sidecar.delay" -}}
{{- include "logout-sidecar.drainSeconds" (dict "config" .Values.config "key" "delay" "default" "5s") }}
{{- end }}

{{- define "logout-sidecar.timeout" -}}
{{- include "logout-sidecar.drainSeconds" (dict "config" .Values.config "key" "timeout" "default" "18s") }}
{{- end }}

{{/* Where the provider sends its logouts. */}}
{{- define "logout-sidecar.logoutUrl" -}}
{{- $prefix := include "logout-sidecar.setting" (dict "config" .Values.config "section" "control" "key" "prefix" "default" "/_sidecar") }}
{{- trimSuffix "/" (default "https://PUBLIC-ADDRESS-OF-THE-APP" .Values.config.public_url) }}{{ $prefix }}/backchannel-logout
{{- end }}

{{/* What a changed configuration is known by: all of it, or with hotReload the part that needs a restart. */}}
{{- define "logout-sidecar.configHash" -}}
{{- $config := include "logout-sidecar.config" . | fromYaml }}
{{- if .Values.hotReload }}
{{- range $keys := .Files.Get "files/reloaded.yaml" | fromYamlArray }}
{{- $section := first $keys }}
{{- range $key := rest $keys }}
{{- $inner := get $config $section }}
{{- range $each := ternary $inner (list $inner) (kindIs "slice" $inner) }}
{{- if kindIs "map" $each }}{{ $_ := unset $each $key }}{{ end }}
{{- end }}
{{- end }}
{{- if or (eq 1 (len $keys)) (not (get $config $section)) }}{{ $_ := unset $config $section }}{{ end }}
{{- end }}
{{- end }}
{{- toYaml $config | sha256sum }}
{{- end }}
