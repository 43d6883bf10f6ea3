{{/* Refuses values that would make a pod or an object of its own invalid, or that something else would silently replace. */}}

{{- /* Labels that the chart sets itself, and that selectors need: (dict "context" … "labels" … "at" the value's place
"more" other labels that the chart sets). */}}
{{- define "tracecar.checkLabels" -}}
{{- $own := concat (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart") (.more | default list) }}
{{- range $label, $_ := .labels }}
{{- if or (has $label $own) (hasPrefix "tracecar.io/" $label) }}
{{- fail (printf "%s%s: the label %s has the chart's own value: remove it, or choose another name" (include "tracecar.prefix" $.context) $.at $label) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The container's environment: (dict "context" …). */}}
{{- define "tracecar.checkEnvironment" -}}
{{- $prefix := include "tracecar.prefix" .context }}
{{- $names := list "HOME" "TRACECAR_URL" "TRACECAR_TOKEN_FILE" }}
{{- range .context.Values.extraEnv }}
{{- if has .name $names }}
{{- fail (printf "%sextraEnv: %s is set already, by the chart or by another item: remove it" $prefix .name) }}
{{- else if and .value .valueFrom }}
{{- fail (printf "%sextraEnv: %s: expected value or valueFrom, found both" $prefix .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- range $number, $source := .context.Values.extraEnvFrom }}
{{- $given := list }}
{{- range $kind := list "configMapRef" "secretRef" }}{{ if get $source $kind }}{{ $given = append $given $kind }}{{ end }}{{ end }}
{{- if ne (len $given) 1 }}
{{- fail (printf "%sextraEnvFrom[%d]: expected configMapRef or secretRef, found %s" $prefix $number (ternary "neither" "both" (empty $given))) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Volumes that no container mounts: (dict "context" … "containers" the other containers of the pod). */}}
{{- define "tracecar.checkVolumesAreUsed" -}}
{{- $mounted := list }}
{{- range .context.Values.extraVolumeMounts }}{{ $mounted = append $mounted .name }}{{ end }}
{{- range .containers }}
{{- range .volumeMounts }}{{ $mounted = append $mounted .name }}{{ end }}
{{- range .volumeDevices }}{{ $mounted = append $mounted .name }}{{ end }}
{{- end }}
{{- $prefix := include "tracecar.prefix" .context }}
{{- range .context.Values.extraVolumes }}
{{- if not (has .name $mounted) }}
{{- fail (printf "%sextraVolumes: no container mounts the volume %s: add it to %sextraVolumeMounts, or remove it" $prefix .name $prefix) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The pod of a release of its own. */}}
{{- define "tracecar.checkPod" -}}
{{- $prefix := include "tracecar.prefix" . }}
{{- $kind := include "tracecar.workloadKind" . }}
{{- $strategy := .Values.strategy | default dict }}
{{- $types := ternary (list "RollingUpdate" "OnDelete") (list "RollingUpdate" "Recreate") (eq $kind "StatefulSet") }}
{{- if and $strategy.type (not (contains "{{" $strategy.type)) (not (has $strategy.type $types)) }}
{{- fail (printf "%sstrategy.type: expected %s for a %s, found %s" $prefix (join " or " $types) $kind $strategy.type) }}
{{- end }}
{{- if and $strategy.rollingUpdate (ne ($strategy.type | default "RollingUpdate") "RollingUpdate") }}
{{- fail (printf "%sstrategy.rollingUpdate: has no effect with the type %s: remove it" $prefix $strategy.type) }}
{{- end }}
{{- if and (eq (.Values.dnsPolicy | default "") "None") (not (.Values.dnsConfig | default dict).nameservers) }}
{{- fail (printf "%sdnsPolicy: None requires %sdnsConfig.nameservers" $prefix $prefix) }}
{{- end }}
{{- include "tracecar.checkLabels" (dict "context" . "labels" .Values.podLabels "at" "podLabels") }}
{{- include "tracecar.checkVolumesAreUsed" (dict "context" . "containers" (concat (.Values.initContainers | default list) (.Values.extraContainers | default list))) }}
{{- end }}

{{- /* A percentage of a small request would add pods at a fraction of a pod's capacity; without a request Kubernetes cannot
compute one. */}}
{{- define "tracecar.checkCpuRequest" -}}
{{- $given := ((.Values.resources | default dict).requests | default dict).cpu | default "0" | toString }}
{{- $milli := ternary (trimSuffix "m" $given | float64) (mulf (float64 $given) 1000) (hasSuffix "m" $given) }}
{{- if and (not (contains "{{" $given)) (lt $milli 500.0) }}
{{- $prefix := include "tracecar.prefix" . }}
{{- fail (printf "%sautoscaling.targetCPUUtilizationPercentage: expected %sresources.requests.cpu of 500m or more, found %s: raise the request, or use %sautoscaling.targetCPU" $prefix $prefix (ternary "none" $given (eq $given "0")) $prefix) }}
{{- end }}
{{- end }}

{{- /* "true" if an entry of an Ingress' TLS covers its host: (dict "host" … "tls" …). An entry without hosts covers all. */}}
{{- define "tracecar.isCovered" -}}
{{- $host := .host }}
{{- $wildcard := printf "*.%s" (splitList "." $host | rest | join ".") }}
{{- range .tls }}
{{- if or (not .hosts) (has $host (.hosts | default list)) (has $wildcard (.hosts | default list)) }}true{{ end }}
{{- end }}
{{- end }}
