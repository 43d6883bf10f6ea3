{{/* The configuration as it is run, and what is refused. Each template takes a chart's context. */}}

{{- /* `config` with its templates rendered. */}}
{{- define "tracecar.ownConfig" -}}
{{- tpl (toYaml (.Values.config | default dict)) . }}
{{- end }}

{{- define "tracecar.config" -}}
{{- $config := include "tracecar.ownConfig" . | fromYaml }}
{{- $health := dict "host" "0.0.0.0" "port" 8426 }}
{{- $api := dict "token" "${TRACECAR_TOKEN:-}" }}
{{- mergeOverwrite (dict "health" $health "api" $api) $config | toYaml }}
{{- end }}

{{- define "tracecar.service" -}}{{ (include "tracecar.ownConfig" . | fromYaml).service }}{{- end }}

{{- define "tracecar.existingSecret" -}}{{ tpl (.Values.existingSecret | default "") . }}{{- end }}

{{- define "tracecar.healthPort" -}}{{ (include "tracecar.config" . | fromYaml).health.port | int }}{{- end }}

{{- /* Path of the generated token: in the pod's own volume. */}}
{{- define "tracecar.tokenFile" -}}
{{- ((.Values.config | default dict).api | default dict).token_file | default "/var/lib/tracecar/.local/state/tracecar/token" }}
{{- end }}

{{- define "tracecar.apiPort" -}}{{ (include "tracecar.config" . | fromYaml).api.port | default 8425 | int }}{{- end }}

{{- /* "true" if the API listens on more than loopback. */}}
{{- define "tracecar.apiOpen" -}}
{{- $host := (include "tracecar.config" . | fromYaml).api.host | default "127.0.0.1" }}
{{- if not (or (hasPrefix "127." $host) (has $host (list "localhost" "::1"))) }}true{{ end }}
{{- end }}

{{- /* "true" if this release renders a workload of its own. */}}
{{- define "tracecar.standalone" -}}
{{- if and (eq .Values.mode "standalone") (or (not (hasKey .Values "enabled")) .Values.enabled) }}true{{ end }}
{{- end }}

{{- /* "true" if this release renders the injection policy. */}}
{{- define "tracecar.injects" -}}
{{- if and (or (eq .Values.mode "injection") (.Values.injection | default dict).enabled) (or (not (hasKey .Values "enabled")) .Values.enabled) }}true{{ end }}
{{- end }}

{{- /* Refuses what would not run, and says what to do. */}}
{{- define "tracecar.check" -}}
{{- $config := include "tracecar.ownConfig" . | fromYaml }}
{{- $at := .Values.at | default "config" }}
{{- if not $config.service }}
{{- fail "config.service is required: the name of the service (for example shop). docs/configuration.md lists all keys of `config`" }}
{{- end }}
{{- if not (or ($config.sources | default dict).kafka ($config.sources | default dict).redis) }}
{{- fail "config.sources is required: kafka, redis or both, for example config.sources.redis={url: redis://redis:6379/0, streams: [orders]}" }}
{{- end }}
{{- $sources := $config.sources | default dict }}
{{- range $source, $what := dict "kafka" "topics" "redis" "streams" }}
{{- $found := index $sources $source | default dict }}
{{- if and $found (not (index $found $what)) (not $found.gate) }}
{{- fail (printf "%s.sources.%s.%s is required: at least one, or a gate" $at $source $what) }}
{{- end }}
{{- end }}
{{- include "tracecar.checkSecrets" (dict "context" . "config" $config "at" $at) }}
{{- include "tracecar.checkReferences" (dict "context" . "config" $config "at" $at) }}
{{- if and (include "tracecar.apiOpen" .) (not .Values.existingSecret) (not .Values.extraEnvFrom) (not .Values.extraEnv) }}
{{- fail (printf "%s.api.host: the API is open to the network, which needs a token that you know. Put TRACECAR_TOKEN into a Secret and name it in existingSecret, or remove config.api.host (kubectl port-forward reaches loopback)" $at) }}
{{- end }}
{{- $health := (include "tracecar.config" . | fromYaml).health.host }}
{{- if and (eq $at "config") (or (hasPrefix "127." $health) (has $health (list "localhost" "::1"))) }}
{{- fail (printf "config.health.host: expected 0.0.0.0 or ::, because probes and scrapers connect from outside the pod, found %s: remove the key (the health port shows nothing of events)" $health) }}
{{- end }}
{{- if eq (include "tracecar.healthPort" .) (include "tracecar.apiPort" .) }}
{{- fail (printf "%s.health.port, %s.api.port: expected two ports, found %s for both" $at $at (include "tracecar.apiPort" .)) }}
{{- end }}
{{- $directory := ($config.registry | default dict).directory | default "" }}
{{- if and (eq $at "config") (hasPrefix "/etc/tracecar/schemas" $directory) (not .Values.schemasConfigMap) (not (include "tracecar.mounts" (dict "context" . "path" $directory))) }}
{{- fail (printf "config.registry.directory: nothing is mounted at %s: name a ConfigMap in schemasConfigMap, or mount a volume there with extraVolumes and extraVolumeMounts" $directory) }}
{{- end }}
{{- if and (eq $at "config") .Values.schemasConfigMap (not $directory) }}
{{- fail "schemasConfigMap: has no effect without config.registry.directory: set config.registry.directory=/etc/tracecar/schemas" }}
{{- end }}
{{- end }}

{{- /* "true" if an extra volume is mounted at or above a path: (dict "context" … "path" …). */}}
{{- define "tracecar.mounts" -}}
{{- range .context.Values.extraVolumeMounts }}
{{- if hasPrefix (trimSuffix "/" (.mountPath | default "-")) $.path }}true{{ end }}
{{- end }}
{{- end }}

{{- /* Refuses literal secrets: (dict "context" … "config" … "at" …). */}}
{{- define "tracecar.checkSecrets" -}}
{{- $config := .config }}
{{- $at := .at }}
{{- $sources := $config.sources | default dict }}
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
{{- $_ := set $secrets $path (regexFind "://[^/]*:[^/]+@" ($url | default "" | toString)) }}
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
{{- fail (printf "%s%s: expected a reference such as \"${NAME}\", found a literal secret: put it into a Secret and name that Secret in existingSecret" $at (trimPrefix "config" $path)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Refuses references that nothing supplies: (dict "context" … "config" … "at" …). */}}
{{- define "tracecar.checkReferences" -}}
{{- $values := .context.Values }}
{{- if not (or $values.existingSecret $values.extraEnvFrom) }}
{{- $known := list }}
{{- range $values.extraEnv }}{{ $known = append $known .name }}{{ end }}
{{- range regexFindAll "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}" (toYaml .config) -1 }}
{{- $name := . | trimPrefix "${" | trimSuffix "}" }}
{{- if not (has $name $known) }}
{{- fail (printf "%s: refers to ${%s}, which nothing supplies, so Tracecar would not start: put it into a Secret and name that Secret in existingSecret, or set it in extraEnv, or give it a default as ${%s:-}" $.at $name $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Several pods answer for all partitions only with a shared index: (dict "context" … "replicas" N "workload" …). */}}
{{- define "tracecar.checkShared" -}}
{{- $index := ((include "tracecar.ownConfig" .context | fromYaml).index | default dict) }}
{{- $shared := or $index.redis (eq (($index.memory | default dict).scope | default "assigned") "all") }}
{{- if and (gt (int .replicas) 1) (not $shared) (not (.context.Values.sidecar | default dict).allowPartialView) }}
{{- fail (printf "the %s has %d replicas, and each sidecar would answer for its own partitions only. Give them a shared index: tracecar.config.index.redis.url=redis://HOST:6379/0 (or, for little traffic, tracecar.config.index.memory.scope=all), or accept it with tracecar.sidecar.allowPartialView=true" .workload (int .replicas)) }}
{{- end }}
{{- end }}

{{- define "tracecar.checkReplicas" -}}
{{- $index := (include "tracecar.ownConfig" . | fromYaml).index | default dict }}
{{- $shared := or $index.redis (eq (($index.memory | default dict).scope | default "assigned") "all") }}
{{- $autoscaling := .Values.autoscaling | default dict }}
{{- $keda := .Values.keda | default dict }}
{{- if not $shared }}
{{- $several := "" }}
{{- if $autoscaling.enabled }}{{ $several = "autoscaling.enabled" }}
{{- else if $keda.enabled }}{{ $several = "keda.enabled" }}
{{- else if gt (int .Values.replicaCount) 1 }}{{ $several = "replicaCount" }}
{{- end }}
{{- if $several }}
{{- fail (printf "%s: several pods share the partitions, so each would answer for its own only. Give them a shared index: config.index.redis.url=redis://HOST:6379/0 (or, for little traffic, config.index.memory.scope=all)" $several) }}
{{- end }}
{{- end }}
{{- if and $autoscaling.enabled $keda.enabled }}
{{- fail "autoscaling.enabled, keda.enabled: expected at most one, because both set the number of pods" }}
{{- end }}
{{- end }}

{{- /* Beside a service: refuses a forgotten mode, and values that have no effect there. */}}
{{- define "tracecar.checkBeside" -}}
{{- if and (eq .Values.mode "standalone") (not (.Values.sidecar | default dict).withStandalone) }}
{{- fail "tracecar.mode: expected sidecar, found standalone, in a chart that includes the sidecar: both would join the same consumer group and share its partitions. Set tracecar.mode=sidecar (or, if you want both, tracecar.sidecar.withStandalone=true)" }}
{{- end }}
{{- include "tracecar.checkUnused" (dict "context" . "prefix" "tracecar." "mode" "sidecar") }}
{{- end }}

{{- /* Refuses values without effect: (dict "context" … "prefix" … "mode" "sidecar" or "injection"). */}}
{{- define "tracecar.checkUnused" -}}
{{- $values := .context.Values }}
{{- $mode := .mode }}
{{- if ne $values.mode "standalone" }}
{{- $probes := $values.probes | default dict }}
{{- $policy := $values.networkPolicy | default dict }}
{{- $service := $values.service | default dict }}
{{- $account := $values.serviceAccount | default dict }}
{{- $set := dict
  "autoscaling.enabled" ($values.autoscaling | default dict).enabled
  "keda.enabled" ($values.keda | default dict).enabled
  "serviceMonitor.enabled" ($values.serviceMonitor | default dict).enabled
  "ingress.enabled" ($values.ingress | default dict).enabled
  "httpRoute.enabled" ($values.httpRoute | default dict).enabled
  "replicaCount" (gt (int ($values.replicaCount | default 1)) 1)
  "workload" (ne ($values.workload | default "Deployment") "Deployment")
  "revisionHistoryLimit" (ne (int ($values.revisionHistoryLimit | default 5)) 5)
  "terminationGracePeriodSeconds" (ne (int ($values.terminationGracePeriodSeconds | default 30)) 30)
  "probes.startup" $probes.startup
  "probes.readiness" $probes.readiness
  "networkPolicy.from" $policy.from
  "networkPolicy.apiFrom" $policy.apiFrom
  "networkPolicy.egress" $policy.egress
  "service.annotations" $service.annotations
  "service.labels" $service.labels
  "service.type" (ne ($service.type | default "ClusterIP") "ClusterIP")
  "serviceAccount.name" $account.name
  "serviceAccount.annotations" $account.annotations }}
{{- range $name := list "extraContainers" "initContainers" "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "runtimeClassName" "schedulerName" "hostAliases" "dnsConfig" "dnsPolicy" "strategy" "lifecycle" }}
{{- $_ := set $set $name (index $values $name) }}
{{- end }}
{{- if eq $mode "injection" }}
{{- range $name := list "existingSecret" "imagePullSecrets" "podLabels" "podAnnotations" "config" }}
{{- $_ := set $set $name (index $values $name) }}
{{- end }}
{{- end }}
{{- $why := dict "sidecar" "the service's own chart decides that for the pod" "injection" "the pod that it is injected into decides that, and injection.configs holds the configurations" }}
{{- range $name, $value := $set }}
{{- if $value }}
{{- fail (printf "%s%s: has no effect in mode %s: %s. Remove it" $.prefix $name $mode (index $why $mode)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
