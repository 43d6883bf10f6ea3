{{/* The configuration as it is run. Each template takes a chart's context. */}}

{{- /* `config` with its templates rendered. */}}
{{- define "tracecar.ownConfig" -}}
{{- include "tracecar.rendered" (dict "context" . "value" .Values.config "at" (include "tracecar.at" .)) }}
{{- end }}

{{- define "tracecar.config" -}}
{{- $config := include "tracecar.ownConfig" . | fromYaml }}
{{- $health := dict "host" "0.0.0.0" "port" 8426 }}
{{- $api := dict "token" "${TRACECAR_TOKEN:-}" }}
{{- mergeOverwrite (dict "health" $health "api" $api) $config | toYaml }}
{{- end }}

{{- define "tracecar.service" -}}{{ (include "tracecar.ownConfig" . | fromYaml).service }}{{- end }}

{{- define "tracecar.existingSecret" -}}{{ include "tracecar.renderText" (dict "context" . "text" .Values.existingSecret "at" (printf "%sexistingSecret" (include "tracecar.prefix" .))) }}{{- end }}

{{- define "tracecar.healthPort" -}}
{{- (((include "tracecar.config" . | fromYaml).health | default dict).port | default 8426) | int }}
{{- end }}

{{- define "tracecar.apiPort" -}}
{{- (((include "tracecar.config" . | fromYaml).api | default dict).port | default 8425) | int }}
{{- end }}

{{- /* Path of the generated token: in the pod's own volume. */}}
{{- define "tracecar.tokenFile" -}}
{{- ((include "tracecar.ownConfig" . | fromYaml).api | default dict).token_file | default "/var/lib/tracecar/.local/state/tracecar/token" }}
{{- end }}

{{- define "tracecar.isLoopback" -}}
{{- if or (hasPrefix "127." .) (has . (list "localhost" "::1")) }}true{{ end }}
{{- end }}

{{- /* The address at which the container itself reaches the API. */}}
{{- define "tracecar.apiLoopback" -}}
{{- ternary "[::1]" "127.0.0.1" (eq (((include "tracecar.ownConfig" . | fromYaml).api | default dict).host | default "") "::1") }}
{{- end }}

{{- /* "true" if the API listens on more than loopback. */}}
{{- define "tracecar.apiOpen" -}}
{{- $host := ((include "tracecar.config" . | fromYaml).api | default dict).host | default "127.0.0.1" }}
{{- if not (include "tracecar.isLoopback" $host) }}true{{ end }}
{{- end }}

{{- /* "true" unless the value `enabled` switches this chart off, as a dependency. */}}
{{- define "tracecar.enabled" -}}
{{- if or (not (hasKey .Values "enabled")) .Values.enabled }}true{{ end }}
{{- end }}

{{- define "tracecar.mode" -}}{{ .Values.mode | default "standalone" }}{{- end }}

{{- /* "true" if this release renders a workload of its own. */}}
{{- define "tracecar.standalone" -}}
{{- if and (eq (include "tracecar.mode" .) "standalone") (include "tracecar.enabled" .) }}true{{ end }}
{{- end }}

{{- /* "true" if this release renders the injection policy. */}}
{{- define "tracecar.injects" -}}
{{- if and (or (eq (include "tracecar.mode" .) "injection") (.Values.injection | default dict).enabled) (include "tracecar.enabled" .) }}true{{ end }}
{{- end }}

{{- /* "true" if every sidecar of the group answers for all partitions. */}}
{{- define "tracecar.indexIsShared" -}}
{{- $index := (include "tracecar.ownConfig" . | fromYaml).index | default dict }}
{{- if or $index.redis (eq (($index.memory | default dict).scope | default "assigned") "all") }}true{{ end }}
{{- end }}
