{{/* The configuration as it is run, and what is refused. Each takes a chart's context. */}}

{{- define "tracecar.config" -}}
{{- $config := .Values.config }}
{{- $health := dict "host" "0.0.0.0" "port" 8426 }}
{{- $api := dict "token" "${TRACECAR_TOKEN:-}" }}
{{- mergeOverwrite (dict "health" $health "api" $api) (deepCopy $config) | toYaml }}
{{- end }}

{{- define "tracecar.healthPort" -}}{{ (include "tracecar.config" . | fromYaml).health.port | int }}{{- end }}

{{- /* Where the token that was made is kept: in the pod's own volume. */}}
{{- define "tracecar.tokenFile" -}}
{{- ((.Values.config | default dict).api | default dict).token_file | default "/var/lib/tracecar/.local/state/tracecar/token" }}
{{- end }}

{{- define "tracecar.apiPort" -}}{{ (include "tracecar.config" . | fromYaml).api.port | default 8425 | int }}{{- end }}

{{- /* "true" where the API listens on more than loopback. */}}
{{- define "tracecar.apiOpen" -}}
{{- $host := (include "tracecar.config" . | fromYaml).api.host | default "127.0.0.1" }}
{{- if not (or (hasPrefix "127." $host) (has $host (list "localhost" "::1"))) }}true{{ end }}
{{- end }}

{{- /* Refuses what would not run, with what to do. */}}
{{- define "tracecar.check" -}}
{{- $config := .Values.config }}
{{- $at := .Values.at | default "config" }}
{{- if not $config.service }}
{{- fail "config.service: expected whose sidecar this is, such as shop, found nothing. See docs/configuration.md for all of `config`." }}
{{- end }}
{{- if not (or ($config.sources | default dict).kafka ($config.sources | default dict).redis) }}
{{- fail "config.sources: expected kafka, redis or both, found nothing, such as config.sources.redis={url: redis://redis:6379/0, streams: [orders]}" }}
{{- end }}
{{- $sources := $config.sources | default dict }}
{{- range $source, $what := dict "kafka" "topics" "redis" "streams" }}
{{- $found := index $sources $source | default dict }}
{{- if and $found (not (index $found $what)) (not $found.gate) }}
{{- fail (printf "%s.sources.%s.%s: expected at least one, or a gate, found none" $at $source $what) }}
{{- end }}
{{- end }}
{{- $sasl := (($sources.kafka | default dict).sasl | default dict) }}
{{- $registry := $config.registry | default dict }}
{{- $secrets := dict
  "config.api.token" ($config.api | default dict).token
  "config.registry.token" $registry.token
  "config.registry.basic.password" ($registry.basic | default dict).password
  "config.sources.kafka.sasl.password" $sasl.password
  "config.sources.kafka.sasl.client_secret" $sasl.client_secret }}
{{- range $number, $token := ($config.api | default dict).tokens }}
{{- $_ := set $secrets (printf "config.api.tokens[%d].token" $number) $token.token }}
{{- end }}
{{- $exporters := $config.exporters | default dict }}
{{- range $path, $url := dict
  "config.sources.redis.url" ($sources.redis | default dict).url
  "config.index.redis.url" (($config.index | default dict).redis | default dict).url
  "config.registry.url" $registry.url
  "config.sources.kafka.sasl.token_endpoint" $sasl.token_endpoint
  "config.exporters.otlp.endpoint" ($exporters.otlp | default dict).endpoint
  "config.exporters.zipkin.endpoint" ($exporters.zipkin | default dict).endpoint }}
{{- $_ := set $secrets $path (regexFind "://[^/]*:[^/]+@" ($url | default "")) }}
{{- end }}
{{- $named := dict "config.sources.kafka.client" ($sources.kafka | default dict).client }}
{{- range $exporter := list "otlp" "zipkin" }}
{{- $_ := set $named (printf "config.exporters.%s.headers" $exporter) (index $exporters $exporter | default dict).headers }}
{{- end }}
{{- range $path, $values := $named }}
{{- range $name, $value := $values }}
{{- if regexMatch "(?i)auth|token|secret|passw|cookie|(^|[-_])key$" $name }}{{ $_ := set $secrets (printf "%s.%s" $path $name) $value }}{{ end }}
{{- end }}
{{- end }}
{{- range $path, $value := $secrets }}
{{- if and $value (not (contains "${" ($value | toString))) }}
{{- fail (printf "%s%s: expected a reference such as \"${NAME}\", found the secret itself: put it into a Secret and name that by existingSecret" $at (trimPrefix "config" $path)) }}
{{- end }}
{{- end }}
{{- if and (include "tracecar.apiOpen" .) (not .Values.existingSecret) (not .Values.extraEnvFrom) (not .Values.extraEnv) }}
{{- fail "config.api.host: the API is opened to the network, which needs a token that you know: put TRACECAR_TOKEN into a Secret and name it by existingSecret, or leave config.api.host out (kubectl port-forward reaches loopback)" }}
{{- end }}
{{- $health := (include "tracecar.config" . | fromYaml).health.host }}
{{- if and (eq $at "config") (or (hasPrefix "127." $health) (has $health (list "localhost" "::1"))) }}
{{- fail (printf "config.health.host: expected 0.0.0.0 or ::, for probes and scrapers come from outside of the pod, found %s: leave it out (it shows nothing of events)" $health) }}
{{- end }}
{{- if eq (include "tracecar.healthPort" .) (include "tracecar.apiPort" .) }}
{{- fail (printf "%s.health.port, %s.api.port: expected two ports, found %s for both" $at $at (include "tracecar.apiPort" .)) }}
{{- end }}
{{- end }}

{{- /* Several pods answer for all only with a shared index. */}}
{{- define "tracecar.checkReplicas" -}}
{{- $index := .Values.config.index | default dict }}
{{- $shared := or $index.redis (eq (($index.memory | default dict).scope | default "assigned") "all") }}
{{- if not $shared }}
{{- $several := "" }}
{{- if .Values.autoscaling.enabled }}{{ $several = "autoscaling.enabled" }}
{{- else if .Values.keda.enabled }}{{ $several = "keda.enabled" }}
{{- else if gt (int .Values.replicaCount) 1 }}{{ $several = "replicaCount" }}
{{- end }}
{{- if $several }}
{{- fail (printf "%s: several pods share the partitions, so each would answer for its own only. Give them a shared index: config.index.redis.url=redis://HOST:6379/0 (or, for little traffic, config.index.memory.scope=all)" $several) }}
{{- end }}
{{- end }}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled }}
{{- fail "autoscaling.enabled, keda.enabled: expected one of them: both would set the number of pods" }}
{{- end }}
{{- end }}
