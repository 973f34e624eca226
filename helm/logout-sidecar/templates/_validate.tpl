{{/* What two values say about each other. A restriction that would silently be dropped ends the installation instead. */}}

{{- define "logout-sidecar.validate" -}}
{{- include "logout-sidecar.validateConfig" . }}
{{- if eq .Values.mode "app" }}{{ include "logout-sidecar.validateApp" . }}{{ end }}
{{- if and (eq .Values.mode "resources") (not .Values.podSelector) (or .Values.networkPolicy.enabled .Values.podMonitor.enabled) }}
{{- fail "podSelector: name the labels of the pods that have the sidecar, such as podSelector={app: legacy-app}; NetworkPolicy and PodMonitor need them" }}
{{- end }}
{{- end }}

{{- define "logout-sidecar.validateConfig" -}}
{{- if not .Values.config.providers }}
{{- fail "config.providers: name at least one provider, with issuer and client_id; config.example.yaml shows how" }}
{{- end }}
{{- if not (dig "session" "bind" list .Values.config) }}
{{- fail "config.session.bind: say how a session is recognised, such as [{from: token_endpoint, callback: /oidc/callback}]" }}
{{- end }}
{{- if and (not .Values.hotReload) (dig "reload" "poll" "" .Values.config) }}
{{- fail "config.reload.poll: pods are rolled out for every change; set hotReload=true to have it taken over instead" }}
{{- end }}
{{- if and .Values.redis.url (dig "store" "url" "" .Values.config) }}
{{- fail "redis.url and config.store.url: say it once" }}
{{- end }}
{{- if and .Values.redis.existingSecret (dig "store" "password" "" .Values.config) }}
{{- fail "redis.existingSecret and config.store.password: say it once" }}
{{- end }}
{{- if and .Values.digestKey.existingSecret (dig "store" "secret" "" .Values.config) }}
{{- fail "digestKey.existingSecret and config.store.secret: say it once" }}
{{- end }}
{{- end }}

{{- define "logout-sidecar.validateApp" -}}
{{- if not .Values.app.image }}
{{- fail "app.image: which image is the app? For pods that exist already use mode=resources" }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not (include "logout-sidecar.isShared" .)) }}
{{- fail (printf "replicas: %d pods with SQLite would not hear of each other's logouts; set redis.url, or replicas=1" (int .Values.replicas)) }}
{{- end }}
{{- range $name := list "listenPort" "opsPort" }}
{{- if eq (int $.Values.app.port) (int (include (printf "logout-sidecar.%s" $name) $)) }}
{{- fail (printf "app.port: the sidecar listens on %d as well; change config.listen or config.ops.listen" (int $.Values.app.port)) }}
{{- end }}
{{- end }}
{{- if eq (int .Values.app.port) (int (include "logout-sidecar.relayPort" .)) }}
{{- fail (printf "app.port: the sidecar's relay listens on %d as well; change config.control.relay_listen" (int .Values.app.port)) }}
{{- end }}
{{- with .Values.terminationGracePeriodSeconds }}
{{- if lt (int .) (int (include "logout-sidecar.graceSeconds" $)) }}
{{- fail (printf "terminationGracePeriodSeconds: the drain needs %s; shorten config.drain, or leave it out" (include "logout-sidecar.graceSeconds" $)) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.host: under which name is the app reached?" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.parentRefs: which Gateway does the route belong to?" }}
{{- end }}
{{- end }}

{{/* "true" when all replicas have one store. */}}
{{- define "logout-sidecar.isShared" -}}
{{- $url := default (dig "store" "url" "" .Values.config) .Values.redis.url }}
{{- if regexMatch "^redis|^unix:|^\\$" $url }}true{{ end }}
{{- end }}
