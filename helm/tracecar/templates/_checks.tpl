{{/* Refuses a configuration that would not run, and says what to do. Each template takes a chart's context. */}}

{{- /* What stands before the name of a value: nothing, or the name of the dependency. */}}
{{- define "tracecar.prefix" -}}
{{- if hasKey . "prefix" }}{{ .prefix }}{{ else if not .Chart.IsRoot }}{{ .Chart.Name }}.{{ end }}
{{- end }}

{{- /* The place of the configuration: `config`, or that of one to inject. */}}
{{- define "tracecar.at" -}}
{{- if hasKey . "at" }}{{ .at }}{{ else }}{{ include "tracecar.prefix" . }}config{{ end }}
{{- end }}

{{- define "tracecar.check" -}}
{{- $config := include "tracecar.ownConfig" . | fromYaml }}
{{- $at := include "tracecar.at" . }}
{{- $prefix := include "tracecar.prefix" . }}
{{- if not $config.service }}
{{- fail (printf "%s.service is required: the name of the service (for example shop). docs/configuration.md lists all keys of `config`" $at) }}
{{- end }}
{{- $sources := $config.sources | default dict }}
{{- if not (or $sources.kafka $sources.redis) }}
{{- fail (printf "%s.sources is required: kafka, redis or both, for example %s.sources.redis={url: redis://redis:6379/0, streams: [orders]}" $at $at) }}
{{- end }}
{{- range $source, $what := dict "kafka" "topics" "redis" "streams" }}
{{- $given := index $sources $source | default dict }}
{{- if and $given (not (index $given $what)) (not $given.gate) }}
{{- fail (printf "%s.sources.%s.%s is required: at least one, or a gate" $at $source $what) }}
{{- end }}
{{- end }}
{{- include "tracecar.checkValue" (dict "context" . "value" $config "at" $at "section" "") }}
{{- include "tracecar.checkExclusive" (dict "config" $config "at" $at) }}
{{- include "tracecar.checkReferences" (dict "context" . "config" $config "at" $at) }}
{{- include "tracecar.checkListeners" (dict "context" . "config" $config "at" $at) }}
{{- with ($config.api | default dict).token_file }}
{{- if not (or (contains "${" .) (hasPrefix "/var/lib/tracecar/" .) (hasPrefix "/tmp/" .) (include "tracecar.mounts" (dict "context" $ "path" . "written" true))) }}
{{- fail (printf "%s.api.token_file: the token that Tracecar generates cannot be written to %s, because the root file system is read-only: remove the key, or mount a volume there" $at .) }}
{{- end }}
{{- end }}
{{- $directory := ($config.registry | default dict).directory | default "" }}
{{- if and .Values.schemasConfigMap (not $directory) (not (hasKey . "at")) }}
{{- fail (printf "%sschemasConfigMap: has no effect without %s.registry.directory: set %s.registry.directory=/etc/tracecar/schemas" $prefix $at $at) }}
{{- end }}
{{- end }}

{{- /* Refuses keys that exclude or need one another, which the schema cannot say; Tracecar refuses them too, when it starts:
(dict "config" … "at" …). */}}
{{- define "tracecar.checkExclusive" -}}
{{- $at := .at }}
{{- $registry := .config.registry | default dict }}
{{- $index := .config.index | default dict }}
{{- $sources := .config.sources | default dict }}
{{- if and $registry.url $registry.directory }}
{{- fail (printf "%s.registry: expected url or directory, found both" $at) }}
{{- else if and $registry.require (not (or $registry.url $registry.directory)) }}
{{- fail (printf "%s.registry.require: expected a registry (url or directory) to require schemas from, found neither" $at) }}
{{- else if and $registry.basic $registry.token }}
{{- fail (printf "%s.registry: expected basic or token, found both" $at) }}
{{- else if and $registry.directory (or $registry.basic $registry.token) }}
{{- fail (printf "%s.registry: expected no basic or token with a directory, found one" $at) }}
{{- end }}
{{- if and $index.redis (hasKey $index "memory") (not (kindIs "invalid" $index.memory)) }}
{{- fail (printf "%s.index: expected memory or redis, found both" $at) }}
{{- end }}
{{- $letters := (.config.dead_letters | default dict).enabled }}
{{- range $source := list "kafka" "redis" }}
{{- $given := get $sources $source | default dict }}
{{- if and $given.gate (eq (toString $letters) "false") }}
{{- fail (printf "%s.dead_letters.enabled: expected true, because sources.%s.gate would lose every event that it rejects, found false" $at $source) }}
{{- end }}
{{- if and (get ($given.tls | default dict) "key") (not (get ($given.tls | default dict) "cert")) }}
{{- fail (printf "%s.sources.%s.tls.cert: expected the certificate that belongs to the key, found nothing" $at $source) }}
{{- end }}
{{- end }}
{{- with ($sources.kafka | default dict).sasl }}
{{- $sasl := . }}
{{- $bearer := eq (toString .mechanism) "OAUTHBEARER" }}
{{- range $key := list "username" "password" "token_endpoint" "client_id" "client_secret" "scope" }}
{{- $wanted := eq $bearer (not (has $key (list "username" "password"))) }}
{{- if and $wanted (ne $key "scope") (not (get $sasl $key)) }}
{{- fail (printf "%s.sources.kafka.sasl.%s: expected some text, for %s, found nothing" $at $key $sasl.mechanism) }}
{{- else if and (not $wanted) (get $sasl $key) }}
{{- fail (printf "%s.sources.kafka.sasl.%s: expected no such key with %s, found a value" $at $key $sasl.mechanism) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Refuses ports and hosts that do not work in a pod: (dict "context" … "config" … "at" …). */}}
{{- define "tracecar.checkListeners" -}}
{{- $at := .at }}
{{- $context := .context }}
{{- $prefix := include "tracecar.prefix" $context }}
{{- $health := (include "tracecar.config" $context | fromYaml).health | default dict }}
{{- range $listener, $given := dict "api" (.config.api | default dict) "health" $health }}
{{- $port := get $given "port" }}
{{- if or (contains "${" (toString $port)) (eq (toString $port) "0") (and (hasKey $given "port") (kindIs "invalid" $port)) }}
{{- fail (printf "%s.%s.port: expected a port, which the pod names too, found %s" $at $listener (ternary "nothing" (toString $port) (kindIs "invalid" $port))) }}
{{- end }}
{{- end }}
{{- $host := $health.host | default "" }}
{{- if and (not (hasKey $context "at")) (include "tracecar.isLoopback" $host) }}
{{- fail (printf "%s.health.host: expected 0.0.0.0 or ::, because probes and scrapers connect from outside the pod, found %s: remove the key (the health port shows nothing of events)" $at $host) }}
{{- end }}
{{- if eq (include "tracecar.healthPort" $context) (include "tracecar.apiPort" $context) }}
{{- fail (printf "%s.health.port, %s.api.port: expected two ports, found %s for both" $at $at (include "tracecar.apiPort" $context)) }}
{{- end }}
{{- if include "tracecar.apiOpen" $context }}
{{- $known := or $context.Values.existingSecret $context.Values.extraEnvFrom (.config.api | default dict).tokens (contains "${" ((.config.api | default dict).token | default "")) }}
{{- range $context.Values.extraEnv }}{{ if eq .name "TRACECAR_TOKEN" }}{{ $known = true }}{{ end }}{{ end }}
{{- if not $known }}
{{- fail (printf "%s.api.host: the API is open to the network, which needs a token that you know. Put TRACECAR_TOKEN into a Secret and name it in %sexistingSecret, or remove %s.api.host (kubectl port-forward reaches loopback)" $at $prefix $at) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Refuses literal secrets and files that no volume holds, however deep: (dict "context" … "value" … "at" the path
"section" the name of the map around it). The rule for names is that of the product, which masks the same. */}}
{{- define "tracecar.checkValue" -}}
{{- $outer := . }}
{{- $prefix := include "tracecar.prefix" .context }}
{{- if kindIs "map" .value }}
{{- range $key, $value := .value }}
{{- $at := printf "%s.%s" $outer.at $key }}
{{- if kindIs "string" $value }}
{{- $secret := "" }}
{{- if regexMatch "(?i)(^|[_-])(password|passwd|secret|token|credentials?|api[_-]?key|authorization)$" $key }}{{ $secret = $value }}
{{- else if and (has $outer.section (list "headers" "client")) (regexMatch "(?i)auth|token|secret|passw|cookie|(^|[_-])key$" $key) }}{{ $secret = $value }}
{{- end }}
{{- include "tracecar.checkText" (dict "context" $outer.context "at" $at "text" $value "secret" $secret) }}
{{- if and (eq $outer.section "history") (eq $key "url") (not (regexMatch "://|[$][{]" $value)) (not (include "tracecar.mounts" (dict "context" $outer.context "path" $value "written" true))) }}
{{- fail (printf "%s: no volume is mounted at %s, so the history would be lost with the pod: mount one there with %sextraVolumes and %sextraVolumeMounts, or use a bucket such as s3://BUCKET/PREFIX" $at $value $prefix $prefix) }}
{{- end }}
{{- $isFile := or (and (eq $outer.section "tls") (has $key (list "ca" "cert" "key"))) (and (eq $outer.section "registry") (eq $key "directory")) }}
{{- if and $isFile (not (contains "${" $value)) (not (include "tracecar.mounts" (dict "context" $outer.context "path" $value))) }}
{{- fail (printf "%s: nothing is mounted at %s: mount a volume there with %sextraVolumes and %sextraVolumeMounts%s" $at $value $prefix $prefix (ternary (printf ", or name a ConfigMap in %sschemasConfigMap" $prefix) "" (eq $key "directory"))) }}
{{- end }}
{{- else }}
{{- include "tracecar.checkValue" (dict "context" $outer.context "value" $value "at" $at "section" $key) }}
{{- end }}
{{- end }}
{{- else if kindIs "slice" .value }}
{{- range $number, $value := .value }}
{{- $at := printf "%s[%d]" $outer.at $number }}
{{- if kindIs "invalid" $value }}
{{- fail (printf "%s: expected a value, found nothing: remove the item" $at) }}
{{- else if kindIs "string" $value }}
{{- include "tracecar.checkText" (dict "context" $outer.context "at" $at "text" $value "secret" "") }}
{{- else }}
{{- include "tracecar.checkValue" (dict "context" $outer.context "value" $value "at" $at "section" "") }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Refuses a text that is, or holds, a literal secret: (dict "context" … "at" … "text" … "secret" the text, if its name
says so). Passwords are looked for in every URL. */}}
{{- define "tracecar.checkText" -}}
{{- $secret := .secret | default (regexFind "://[^/]*:[^/]+@" .text) | default (regexFind "(?i)[?&]([a-z]+_)?(password|secret|token|api[_-]?key)=[^&]+" .text) | default (regexFind "-----BEGIN [A-Z ]*PRIVATE KEY" .text) }}
{{- if $secret }}
{{- $remedy := printf "put it into a Secret and name that Secret in %sexistingSecret" (include "tracecar.prefix" .context) }}
{{- if hasKey .context "at" }}{{ $remedy = printf "put it into the Secret %s in the namespace of the pods" .context.Values.existingSecret }}{{ end }}
{{- if not (contains "${" $secret) }}
{{- fail (printf "%s: expected a reference such as \"${NAME}\", found a literal secret: %s" .at $remedy) }}
{{- else if regexMatch "[$][{][A-Za-z_][A-Za-z0-9_]*:-[^}]+" $secret }}
{{- fail (printf "%s: expected a reference without a default, found a literal secret after `:-`: %s" .at $remedy) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* "true" if a path is within something that is mounted, or else within the image: (dict "context" … "path" … "written"
true for a path that has to keep what is written). */}}
{{- define "tracecar.mounts" -}}
{{- $places := ternary list (list "/etc/ssl/" "/usr/" "/tmp/" "/var/lib/tracecar/") (default false .written) }}
{{- if .context.Values.schemasConfigMap }}{{ $places = append $places "/etc/tracecar/schemas/" }}{{ end }}
{{- range .context.Values.extraVolumeMounts }}{{ $places = append $places (printf "%s/" (trimSuffix "/" (.mountPath | default "-"))) }}{{ end }}
{{- $path := printf "%s/" (trimSuffix "/" .path) }}
{{- range $places }}{{ if hasPrefix . $path }}true{{ end }}{{ end }}
{{- end }}

{{- /* Refuses references that nothing supplies: (dict "context" … "config" … "at" …). */}}
{{- define "tracecar.checkReferences" -}}
{{- $values := .context.Values }}
{{- $prefix := include "tracecar.prefix" .context }}
{{- if not (or $values.existingSecret $values.extraEnvFrom) }}
{{- $known := list }}
{{- range $values.extraEnv }}{{ $known = append $known .name }}{{ end }}
{{- /* $${ is a literal ${. */}}
{{- range regexFindAll "[$][{][A-Za-z_][A-Za-z0-9_]*[}]" (toYaml .config | replace "$${" "") -1 }}
{{- $name := . | trimPrefix "${" | trimSuffix "}" }}
{{- if not (has $name $known) }}
{{- fail (printf "%s: refers to ${%s}, which nothing supplies, so Tracecar would not start: put it into a Secret and name that Secret in %sexistingSecret, or set it in %sextraEnv, or give it a default as ${%s:-}" $.at $name $prefix $prefix $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Refuses names that the API server would refuse, and only then. */}}
{{- define "tracecar.checkName" -}}
{{- $name := include "tracecar.fullname" . }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "the name %s, made of the release's, cannot be that of a Service (letters, digits and dashes, a letter first): set %sfullnameOverride" $name (include "tracecar.prefix" .)) }}
{{- end }}
{{- end }}

{{- /* Several pods answer for all partitions only with a shared index: (dict "context" … "several" "Deployment web has 2
replicas"). */}}
{{- define "tracecar.checkShared" -}}
{{- if and (not (include "tracecar.indexIsShared" .context)) (not (.context.Values.sidecar | default dict).allowPartialView) }}
{{- fail (printf "%s, and each sidecar would answer for its own partitions only. Give them a shared index: tracecar.config.index.redis.url=redis://HOST:6379/0 (or, for little traffic, tracecar.config.index.memory.scope=all), or accept it with tracecar.sidecar.allowPartialView=true" .several) }}
{{- end }}
{{- end }}

{{- define "tracecar.checkReplicas" -}}
{{- $autoscaling := include "tracecar.section" (dict "context" . "name" "autoscaling") | fromYaml }}
{{- $keda := include "tracecar.section" (dict "context" . "name" "keda") | fromYaml }}
{{- $prefix := include "tracecar.prefix" . }}
{{- if and $autoscaling.enabled $keda.enabled }}
{{- fail (printf "%sautoscaling.enabled, %skeda.enabled: expected at most one, because both set the number of pods" $prefix $prefix) }}
{{- end }}
{{- range $name, $scaler := dict "autoscaling" $autoscaling "keda" $keda }}
{{- if and $scaler.enabled (gt (int $scaler.minReplicas) (int $scaler.maxReplicas)) }}
{{- fail (printf "%s%s.minReplicas: expected at most %s%s.maxReplicas, which is %d, found %d" $prefix $name $prefix $name (int $scaler.maxReplicas) (int $scaler.minReplicas)) }}
{{- end }}
{{- end }}
{{- $several := "" }}
{{- if $autoscaling.enabled }}{{ if gt (int $autoscaling.maxReplicas) 1 }}{{ $several = "autoscaling.maxReplicas" }}{{ end }}
{{- else if $keda.enabled }}{{ if gt (int $keda.maxReplicas) 1 }}{{ $several = "keda.maxReplicas" }}{{ end }}
{{- else if gt (int .Values.replicaCount) 1 }}{{ $several = "replicaCount" }}
{{- end }}
{{- if and $several (not (include "tracecar.indexIsShared" .)) }}
{{- $at := include "tracecar.at" . }}
{{- fail (printf "%s%s: several pods share the partitions, so each would answer for its own only. Give them a shared index: %s.index.redis.url=redis://HOST:6379/0 (or, for little traffic, %s.index.memory.scope=all)" $prefix $several $at $at) }}
{{- end }}
{{- end }}

{{- /* Refuses extra volumes, mounts and containers that would make the pod invalid: (dict "context" … "volumes" the names of
the pod's own volumes). */}}
{{- define "tracecar.checkExtras" -}}
{{- $call := . }}
{{- $prefix := include "tracecar.prefix" .context }}
{{- $values := .context.Values }}
{{- $known := .volumes | default list }}
{{- range $values.extraVolumes }}
{{- if hasPrefix "tracecar-" .name }}
{{- fail (printf "%sextraVolumes: %s: names that begin with tracecar- belong to the chart: rename the volume" $prefix .name) }}
{{- end }}
{{- if has .name $known }}
{{- if not (has .name ($call.volumes | default list)) }}
{{- fail (printf "%sextraVolumes: found the volume %s twice: rename one of them" $prefix .name) }}
{{- end }}
{{- end }}
{{- $known = append $known .name }}
{{- end }}
{{- $taken := list "/etc/tracecar/config" "/var/lib/tracecar" "/tmp" }}
{{- if $values.schemasConfigMap }}{{ $taken = append $taken "/etc/tracecar/schemas" }}{{ end }}
{{- range $values.extraVolumeMounts }}
{{- if not (or (has .name $known) (hasPrefix "tracecar-" .name)) }}
{{- fail (printf "%sextraVolumeMounts: there is no volume %s: add it to %sextraVolumes" $prefix .name $prefix) }}
{{- end }}
{{- if or (hasPrefix "/etc/tracecar/config/" .mountPath) (and $values.schemasConfigMap (hasPrefix "/etc/tracecar/schemas/" .mountPath)) }}
{{- if not (has (trimSuffix "/" .mountPath) $taken) }}
{{- fail (printf "%sextraVolumeMounts: %s is within a read-only mount of the chart: choose another mountPath for %s" $prefix .mountPath .name) }}
{{- end }}
{{- end }}
{{- if has (trimSuffix "/" .mountPath) $taken }}
{{- fail (printf "%sextraVolumeMounts: something is mounted at %s already: choose another mountPath for %s" $prefix .mountPath .name) }}
{{- end }}
{{- $taken = append $taken (trimSuffix "/" .mountPath) }}
{{- end }}
{{- $names := list "tracecar" }}
{{- range concat ($values.initContainers | default list) ($values.extraContainers | default list) }}
{{- if has .name $names }}
{{- fail (printf "%sinitContainers, %sextraContainers: expected different names, found %s twice (the chart's own container is tracecar)" $prefix $prefix .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
