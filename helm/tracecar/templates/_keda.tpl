{{/* KEDA triggers, derived from `config`. Each template takes the chart's context. The keys are those of KEDA's scalers
kafka, redis-streams, redis-sentinel-streams and redis-cluster-streams. */}}

{{- /* The triggers as a YAML list: (dict "context" … "keda" the section). */}}
{{- define "tracecar.kedaTriggers" -}}
{{- $config := include "tracecar.ownConfig" .context | fromYaml }}
{{- $sources := $config.sources | default dict }}
{{- $at := include "tracecar.at" .context }}
{{- $group := printf "tracecar.%s" $config.service }}
{{- $auth := .keda.authenticationRef }}
{{- if kindIs "string" $auth }}{{ $auth = ternary (dict "name" $auth) dict (ne $auth "") }}{{ end }}
{{- $call := dict "context" .context "at" $at "group" $group "auth" $auth "lag" (.keda.lagThreshold | int64 | toString) "activation" (.keda.activationLagThreshold | int64 | toString) }}
{{- $triggers := list }}
{{- with $sources.kafka }}
{{- $triggers = concat $triggers (include "tracecar.kedaKafka" (merge (dict "source" .) $call) | fromYamlArray) }}
{{- end }}
{{- with $sources.redis }}
{{- $triggers = concat $triggers (include "tracecar.kedaRedis" (merge (dict "source" .) $call) | fromYamlArray) }}
{{- end }}
{{- if not $triggers }}
{{- fail (printf "%skeda.triggers is required: `config` names only patterns, whose lag KEDA cannot read. List what to scale on, or name topics" (include "tracecar.prefix" .context)) }}
{{- end }}
{{- toYaml $triggers }}
{{- end }}

{{- /* Refuses what KEDA cannot read: (dict "context" … "at" the value's place "text" …). */}}
{{- define "tracecar.kedaText" -}}
{{- if contains "${" (toString .text) }}
{{- fail (printf "%s: refers to %s, which KEDA cannot read: list %skeda.triggers, or write the value out" .at (toString .text) (include "tracecar.prefix" .context)) }}
{{- end }}
{{- end }}

{{- /* Refuses TLS settings that KEDA has no counterpart for: (dict "context" … "at" … "source" … "auth" …). */}}
{{- define "tracecar.kedaTls" -}}
{{- $tls := .source.tls | default dict }}
{{- $prefix := include "tracecar.prefix" .context }}
{{- if and (hasKey $tls "check_hostname") (not $tls.check_hostname) }}
{{- fail (printf "%s.tls.check_hostname: KEDA cannot leave out the check of the host name alone: list %skeda.triggers (with unsafeSsl, which checks nothing)" .at $prefix) }}
{{- end }}
{{- if and (or $tls.ca $tls.cert) (not .auth) }}
{{- fail (printf "%skeda.authenticationRef is required with %s.tls.ca or cert: the name of a TriggerAuthentication with the parameters ca, cert and key" $prefix .at) }}
{{- end }}
{{- end }}

{{- /* A trigger for each topic, also those that a gate reads. */}}
{{- define "tracecar.kedaKafka" -}}
{{- $call := . }}
{{- $place := printf "%s.sources.kafka" .at }}
{{- $prefix := include "tracecar.prefix" .context }}
{{- $topics := list }}
{{- range concat (.source.topics | default list) (keys (.source.gate | default dict) | sortAlpha) }}
{{- if not (hasPrefix "^" .) }}{{ $topics = append $topics . }}{{ end }}
{{- end }}
{{- if $topics }}
{{- $group := .source.group_id | default .group }}
{{- include "tracecar.kedaText" (dict "context" .context "at" (ternary (printf "%s.group_id" $place) (printf "%s.service" .at) (hasKey .source "group_id")) "text" $group) }}
{{- include "tracecar.kedaText" (dict "context" .context "at" (printf "%s.bootstrap_servers" $place) "text" .source.bootstrap_servers) }}
{{- include "tracecar.kedaTls" (dict "context" .context "at" $place "source" .source "auth" .auth) }}
{{- $metadata := dict "bootstrapServers" .source.bootstrap_servers "consumerGroup" $group "lagThreshold" .lag "activationLagThreshold" .activation "offsetResetPolicy" (ternary "earliest" "latest" (eq (.source.start | default "latest" | toString) "earliest")) }}
{{- if hasKey .source "tls" }}{{ $_ := set $metadata "tls" "enable" }}{{ end }}
{{- with .source.sasl }}
{{- $mechanisms := dict "PLAIN" "plaintext" "SCRAM-SHA-256" "scram_sha256" "SCRAM-SHA-512" "scram_sha512" "OAUTHBEARER" "oauthbearer" }}
{{- $mechanism := .mechanism | default "" | toString }}
{{- if not (hasKey $mechanisms $mechanism) }}
{{- fail (printf "%s.sasl.mechanism: %s has no derived trigger: list %skeda.triggers" $place $mechanism $prefix) }}
{{- end }}
{{- $_ := set $metadata "sasl" (index $mechanisms $mechanism) }}
{{- if not $call.auth }}
{{- fail (printf "%skeda.authenticationRef is required with %s.sasl: the name of a TriggerAuthentication with the parameters %s (and ca, cert, key for private certificates)" $prefix $place (ternary "username, password, oauthTokenEndpointUri and scopes" "username and password" (eq $mechanism "OAUTHBEARER"))) }}
{{- end }}
{{- end }}
{{- $triggers := list }}
{{- range $topics }}
{{- $trigger := dict "type" "kafka" "metadata" (merge (dict "topic" .) $metadata) }}
{{- with $call.auth }}{{ $_ := set $trigger "authenticationRef" . }}{{ end }}
{{- $triggers = append $triggers $trigger }}
{{- end }}
{{- toYaml $triggers }}
{{- else }}[]
{{- end }}
{{- end }}

{{- /* A trigger for each stream, also those that a gate reads. The URL is not parsed as one, because user and password may
be references. */}}
{{- define "tracecar.kedaRedis" -}}
{{- $call := . }}
{{- $place := printf "%s.sources.redis" .at }}
{{- $prefix := include "tracecar.prefix" .context }}
{{- $streams := list }}
{{- range concat (.source.streams | default list) (keys (.source.gate | default dict) | sortAlpha) }}
{{- if not (regexMatch "[*?\\[]" .) }}{{ $streams = append $streams . }}{{ end }}
{{- end }}
{{- if $streams }}
{{- $url := .source.url | default "" }}
{{- $scheme := regexFind "^[a-z+]+://" $url | trimSuffix "://" }}
{{- $address := last (splitList "@" (regexReplaceAll "^[a-z+]+://" $url "")) }}
{{- $group := .source.group | default .group }}
{{- include "tracecar.kedaText" (dict "context" .context "at" (ternary (printf "%s.group" $place) (printf "%s.service" .at) (hasKey .source "group")) "text" $group) }}
{{- include "tracecar.kedaText" (dict "context" .context "at" (printf "%s.url" $place) "text" (regexFind "^[^?]*" $address)) }}
{{- include "tracecar.kedaTls" (dict "context" .context "at" $place "source" .source "auth" .auth) }}
{{- $hosts := list }}
{{- $usual := ternary "26379" "6379" (hasSuffix "+sentinel" $scheme) }}
{{- range splitList "," (regexFind "^[^/?]*" $address) }}
{{- $hosts = append $hosts (ternary . (printf "%s:%s" . $usual) (regexMatch ":[0-9]+$" .)) }}
{{- end }}
{{- $path := splitList "/" (regexReplaceAll "\\?.*$" (regexReplaceAll "^[^/?]*/?" $address "") "") }}
{{- $database := regexFind "[?&]db=[0-9]+" $address | regexFind "[0-9]+" | default "0" }}
{{- $metadata := dict "consumerGroup" $group "lagCount" .lag "activationLagCount" .activation }}
{{- /* Left out without TLS: KEDA refuses it beside the parameter `tls` of a TriggerAuthentication. */}}
{{- if or (hasPrefix "rediss" $scheme) (hasKey .source "tls") }}{{ $_ := set $metadata "enableTLS" "true" }}{{ end }}
{{- $type := "redis-streams" }}
{{- if hasSuffix "+sentinel" $scheme }}
{{- $type = "redis-sentinel-streams" }}
{{- $_ := set $metadata "addresses" (join "," $hosts) }}
{{- $_ := set $metadata "sentinelMaster" (first $path) }}
{{- $_ := set $metadata "databaseIndex" (ternary (last $path) "" (gt (len $path) 1) | default $database) }}
{{- else if hasSuffix "+cluster" $scheme }}
{{- $type = "redis-cluster-streams" }}
{{- $_ := set $metadata "addresses" (join "," $hosts) }}
{{- else if has $scheme (list "redis" "rediss") }}
{{- $_ := set $metadata "address" (first $hosts) }}
{{- $_ := set $metadata "databaseIndex" (first $path | default $database) }}
{{- else }}
{{- fail (printf "%s.url: KEDA has no trigger for a URL with the scheme %q: list %skeda.triggers" $place $scheme $prefix) }}
{{- end }}
{{- if and (or (contains "@" $url) (contains "sentinel_password=" $url)) (not .auth) }}
{{- fail (printf "%skeda.authenticationRef is required with a password in %s.url: the name of a TriggerAuthentication with the parameters username and password%s" $prefix $place (ternary " (or sentinelUsername and sentinelPassword)" "" (hasSuffix "+sentinel" $scheme))) }}
{{- end }}
{{- $triggers := list }}
{{- range $streams }}
{{- $trigger := dict "type" $type "metadata" (merge (dict "stream" .) $metadata) }}
{{- with $call.auth }}{{ $_ := set $trigger "authenticationRef" . }}{{ end }}
{{- $triggers = append $triggers $trigger }}
{{- end }}
{{- toYaml $triggers }}
{{- else }}[]
{{- end }}
{{- end }}
