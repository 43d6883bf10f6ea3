{{/* Refuses values that do nothing: those that another mode uses, and those whose counterpart is missing. */}}

{{- /* Refuses values that no mode of this release uses: (dict "context" … "prefix" … "modes" (list "sidecar") "why" …).
The scopes are the marks in values.yaml. A value that is off, or as it is by default, is never refused. */}}
{{- define "tracecar.checkUnused" -}}
{{- $call := . }}
{{- $defaults := include "tracecar.defaults" . | fromJson }}
{{- range $path, $scope := include "tracecar.scopes" . | fromJson }}
{{- $used := false }}
{{- range $call.modes }}{{ if has . $scope }}{{ $used = true }}{{ end }}{{ end }}
{{- if not $used }}
{{- $value := $call.context.Values }}
{{- $default := $defaults }}
{{- range splitList "." $path }}
{{- $value = ternary $value dict (kindIs "map" $value) }}
{{- $value = get $value . }}
{{- $default = get $default . }}
{{- end }}
{{- if and $value (ne (toJson $value) (toJson $default)) }}
{{- fail (printf "%s%s: has no effect in mode %s: %s. Remove it" $call.prefix $path (join " and " $call.modes) $call.why) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The check of a release in any mode. */}}
{{- define "tracecar.checkRelease" -}}
{{- $prefix := include "tracecar.prefix" . }}
{{- $mode := include "tracecar.mode" . }}
{{- $modes := list $mode }}
{{- if and (include "tracecar.injects" .) (ne $mode "injection") }}{{ $modes = append $modes "injection" }}{{ end }}
{{- if (.Values.sidecar | default dict).withStandalone }}{{ $modes = append $modes "sidecar" }}{{ end }}
{{- $why := dict "standalone" "it is for sidecars" "sidecar" "the service's own chart decides that for the pod" "injection" "the pod that it is injected into decides that, and injection.configs holds the configurations" }}
{{- include "tracecar.checkUnused" (dict "context" . "prefix" $prefix "modes" $modes "why" (index $why $mode)) }}
{{- $shared := or (.Values.prometheusRule | default dict).enabled (.Values.grafanaDashboard | default dict).enabled .Values.extraObjects (include "tracecar.injects" .) }}
{{- if and (eq $mode "sidecar") .Chart.IsRoot (not $shared) }}
{{- fail "mode: sidecar renders nothing in a release of its own: it is for the chart of a service, which depends on this chart. Expected standalone or injection" }}
{{- end }}
{{- if and (eq $mode "standalone") (not (include "tracecar.apiOpen" .)) }}
{{- $service := include "tracecar.section" (dict "context" . "name" "service") | fromYaml }}
{{- $policy := .Values.networkPolicy | default dict }}
{{- $opening := printf "the API listens on loopback only. Set %s.api.host=0.0.0.0 and name a Secret with TRACECAR_TOKEN in %sexistingSecret" (include "tracecar.at" .) $prefix }}
{{- range $path, $set := dict "service.type" (ne $service.type "ClusterIP") "service.port" $service.port "service.metrics.separate" ($service.metrics | default dict).separate "networkPolicy.apiFrom" (and $policy.enabled $policy.apiFrom) "ingress.enabled" (.Values.ingress | default dict).enabled "httpRoute.enabled" (.Values.httpRoute | default dict).enabled }}
{{- if $set }}{{ fail (printf "%s%s: has no effect, because %s" $prefix $path $opening) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Beside a service: refuses a forgotten mode, and values that have no effect there. */}}
{{- define "tracecar.checkBeside" -}}
{{- $mode := include "tracecar.mode" . }}
{{- if eq $mode "injection" }}
{{- fail "tracecar.mode: expected sidecar, found injection, in a chart that includes the sidecar: injection is for a release of its own, once per cluster. Set tracecar.mode=sidecar" }}
{{- end }}
{{- if and (eq $mode "standalone") (not (.Values.sidecar | default dict).withStandalone) }}
{{- fail "tracecar.mode: expected sidecar, found standalone, in a chart that includes the sidecar: both would join the same consumer group and share its partitions. Set tracecar.mode=sidecar (or, if you want both, tracecar.sidecar.withStandalone=true)" }}
{{- end }}
{{- $modes := list "sidecar" }}
{{- if eq $mode "standalone" }}{{ $modes = append $modes "standalone" }}{{ end }}
{{- if (.Values.injection | default dict).enabled }}{{ $modes = append $modes "injection" }}{{ end }}
{{- include "tracecar.checkUnused" (dict "context" . "prefix" "tracecar." "modes" $modes "why" "the service's own chart decides that for the pod") }}
{{- end }}

{{- /* Refuses options of tracecar.beside that nothing reads: (dict "context" … "name" … "values" … "template" …). Helm
checks values files against the schema, but not what templates write. */}}
{{- define "tracecar.checkOptions" -}}
{{- $place := printf "tracecar.beside: the options of the template %s" .template }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" (toString .name)) }}
{{- fail (printf "%s: name: expected lower-case letters, digits and dashes, found %s" $place (toString .name)) }}
{{- end }}
{{- if not (kindIs "map" .values) }}
{{- fail (printf "%s: values: expected a map, such as (dict \"config\" (dict \"service\" \"shop-worker\")), found %s" $place (toJson .values)) }}
{{- end }}
{{- include "tracecar.checkKeys" (dict "known" (include "tracecar.knownKeys" .context | fromJson) "given" .values "at" (printf "%s: values" $place)) }}
{{- end }}

{{- /* Refuses unknown keys, however deep: (dict "known" a tree of names "given" a map "at" …). */}}
{{- define "tracecar.checkKeys" -}}
{{- $call := . }}
{{- range $key, $value := .given }}
{{- if not (hasKey $call.known $key) }}
{{- $near := list }}
{{- range $name, $_ := $call.known }}{{ if hasPrefix (trunc 2 $key) $name }}{{ $near = append $near $name }}{{ end }}{{ end }}
{{- $hint := printf "expected one of %s" (keys $call.known | sortAlpha | join ", ") }}
{{- if $near }}{{ $hint = printf "perhaps %s" ($near | sortAlpha | join " or ") }}{{ end }}
{{- fail (printf "%s.%s: unknown key, %s" $call.at $key $hint) }}
{{- end }}
{{- $inner := get $call.known $key }}
{{- if and (kindIs "map" $inner) (kindIs "map" $value) }}
{{- include "tracecar.checkKeys" (dict "known" $inner "given" $value "at" (printf "%s.%s" $call.at $key)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Workloads of one release whose sidecars share a consumer group share its partitions too: (dict "root" a context of the
release "context" with Tracecar's values "by" the template or file that has the workload). */}}
{{- define "tracecar.checkGroup" -}}
{{- $config := include "tracecar.ownConfig" .context | fromYaml }}
{{- $sources := $config.sources | default dict }}
{{- $default := printf "tracecar.%s" $config.service }}
{{- $state := get .root.Release "tracecar" | default dict }}
{{- $groups := $state.groups | default dict }}
{{- range $source, $key := dict "kafka" "group_id" "redis" "group" }}
{{- with get $sources $source }}
{{- $group := printf "%s of %s" (get . $key | default $default) (get . (ternary "bootstrap_servers" "url" (eq $source "kafka"))) }}
{{- $other := get $groups $group }}
{{- if and $other (ne $other $.by) (not (include "tracecar.indexIsShared" $.context)) (not ($.context.Values.sidecar | default dict).allowPartialView) }}
{{- fail (printf "the sidecars of %s and %s are both of the service %s. They would share its consumer group, and each would answer for its own partitions only. Give one of them a service of its own (with tracecar.beside by the options `name` and `values`: config.service), or set tracecar.config.index.redis.url, or accept it with tracecar.sidecar.allowPartialView=true" $other $.by $config.service) }}
{{- end }}
{{- $_ := set $groups $group $.by }}
{{- end }}
{{- end }}
{{- $_ := set .root.Release "tracecar" (set $state "groups" $groups) }}
{{- end }}

{{- /* A workload without `replicas` has as many pods as its autoscaler wants, which is in the same template, or is switched
on by the value `autoscaling` of the including chart: (dict "root" that chart's context "context" with Tracecar's values
"documents" texts "workload" …). */}}
{{- define "tracecar.checkScalers" -}}
{{- $call := . }}
{{- $kind := .workload.kind | default "" }}
{{- $name := (.workload.metadata | default dict).name | default "without a name" }}
{{- range .documents }}
{{- $document := fromYaml . }}
{{- $spec := ternary $document.spec dict (kindIs "map" $document.spec) }}
{{- $most := dict "HorizontalPodAutoscaler" $spec.maxReplicas "ScaledObject" ($spec.maxReplicaCount | default 100) }}
{{- if gt (int (get $most ($document.kind | default ""))) 1 }}
{{- include "tracecar.checkShared" (dict "context" $call.context "several" (printf "the %s of the same template lets the %s %s have several pods" $document.kind $kind $name)) }}
{{- end }}
{{- end }}
{{- $spec := ternary .workload.spec dict (kindIs "map" .workload.spec) }}
{{- $autoscaling := get .root.Values "autoscaling" }}
{{- if and (has $kind (list "Deployment" "StatefulSet" "ReplicaSet" "Rollout")) (kindIs "invalid" $spec.replicas) (kindIs "map" $autoscaling) }}
{{- if and (get $autoscaling "enabled") (gt (int (get $autoscaling "maxReplicas" | default 100)) 1) }}
{{- include "tracecar.checkShared" (dict "context" $call.context "several" (printf "the %s %s has no `replicas`, and autoscaling.enabled lets it have several pods" $kind $name)) }}
{{- end }}
{{- end }}
{{- end }}
