{{/* Tracecar beside a service: for other charts, which have this one as the dependency `tracecar` and its values under
that key. In one line, where the chart's template `shop.deployment` makes the workload:

{{ include "tracecar.beside" (list . "shop.deployment") }}

Or part by part, each of which takes the including chart's context:

  initContainers:                                       # with `containers:`, where tracecar.sidecar.native is empty
    {{- include "tracecar.sidecar" . | nindent 4 }}
  volumes:
    {{- include "tracecar.sidecar.volumes" . | nindent 4 }}

and in a file of its own: {{ include "tracecar.sidecar.config" . }}
In the pod's annotations, so that pods roll: {{- include "tracecar.sidecar.annotations" . | nindent 4 }}
In NOTES.txt: {{ include "tracecar.sidecar.notes" (list . "deploy/NAME") }} */}}

{{- define "tracecar.sidecar" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.check" $context }}
- {{ include "tracecar.container" (dict "context" $context "sidecar" true) | nindent 2 | trim }}
{{- end }}

{{- /* The workload that a template makes, with the sidecar, its volumes, labels and annotations, and the ConfigMap:
(list . "TEMPLATE"). One that has a container of that name stays as it is. */}}
{{- define "tracecar.beside" -}}
{{- $context := index . 0 }}
{{- $workload := include (index . 1) $context | fromYaml }}
{{- $template := (($workload.spec | default dict).template | default dict) }}
{{- if not $template.spec }}
{{- fail (printf "tracecar.beside: expected the template %s to make one workload with spec.template.spec, found %s" (index . 1) ($workload.Error | default $workload.kind | default "nothing")) }}
{{- end }}
{{- $pod := $template.spec }}
{{- $names := list }}
{{- range concat ($pod.containers | default list) ($pod.initContainers | default list) }}{{ $names = append $names .name }}{{ end }}
{{- if not (has "tracecar" $names) }}
{{- $sidecar := include "tracecar.sidecar" $context | fromYamlArray }}
{{- if include "tracecar.sidecar.native" $context }}
{{- $_ := set $pod "initContainers" (concat $sidecar ($pod.initContainers | default list)) }}
{{- else }}
{{- $_ := set $pod "containers" (concat $pod.containers $sidecar) }}
{{- end }}
{{- $_ := set $pod "volumes" (concat ($pod.volumes | default list) (include "tracecar.sidecar.volumes" $context | fromYamlArray)) }}
{{- $about := $template.metadata | default dict }}
{{- $_ := set $about "labels" (merge (include "tracecar.sidecar.labels" $context | fromYaml) ($about.labels | default dict)) }}
{{- $_ := set $about "annotations" (merge (include "tracecar.sidecar.annotations" $context | fromYaml) ($about.annotations | default dict)) }}
{{- $_ := set $template "metadata" $about }}
{{- end }}
{{- toYaml $workload }}
---
{{ include "tracecar.sidecar.config" $context }}
{{- end }}

{{- define "tracecar.sidecar.volumes" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.volumes" (dict "context" $context "configMap" (include "tracecar.sidecar.configMap" .)) }}
{{- end }}

{{- define "tracecar.sidecar.annotations" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.checksums" $context }}
{{- end }}

{{- define "tracecar.sidecar.labels" -}}
tracecar.io/sidecar: "true"
{{- end }}

{{- define "tracecar.sidecar.config" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "tracecar.sidecar.configMap" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: {{ .Chart.Name }}
    app.kubernetes.io/instance: {{ .Release.Name }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
    app.kubernetes.io/part-of: tracecar
data:
  tracecar.yaml: |
    {{- include "tracecar.config" $context | nindent 4 }}
{{- end }}

{{- /* For the including chart's NOTES.txt: how to look at what a workload's sidecar sees: (list . "deploy/NAME"). */}}
{{- define "tracecar.sidecar.notes" -}}
{{- $target := index . 1 }}
{{- $context := include "tracecar.sidecar.context" (index . 0) | fromJson }}
{{- $at := printf "%s -n %s" $target $context.Release.Namespace }}
{{- $inside := printf "kubectl exec %s -c tracecar --" $at -}}
Tracecar watches the streams of {{ $context.Values.config.service }} beside {{ $target }}. The dashboard, over kubectl:

  tracecar tui --kube {{ $at }}

The token, for `--token`, and dead letters by cause:
{{ if $context.Values.existingSecret }}
  kubectl get secret {{ $context.Values.existingSecret }} -n {{ $context.Release.Namespace }} -o jsonpath='{.data.TRACECAR_TOKEN}' | base64 -d
{{- else }}
  {{ $inside }} cat {{ include "tracecar.tokenFile" $context }}
{{- end }}
  {{ $inside }} tracecar dlq groups

Where it shows nothing, this tries every connection and permission:

  {{ $inside }} tracecar check -c /etc/tracecar/config/tracecar.yaml
{{- end }}

{{- define "tracecar.sidecar.configMap" -}}
{{- .Values.tracecar.sidecar.configMap | default (printf "%s-%s" (printf "%s-%s" .Release.Name .Chart.Name | trunc 54 | trimSuffix "-") "tracecar") }}
{{- end }}

{{- /* "true" where the container belongs under initContainers. */}}
{{- define "tracecar.sidecar.native" -}}
{{- include "tracecar.isNative" (include "tracecar.sidecar.context" . | fromJson) }}
{{- end }}

{{- /* The including chart's context with this chart's values in the place of its own. */}}
{{- define "tracecar.sidecar.context" -}}
{{- $values := .Values.tracecar }}
{{- if not $values }}
{{- fail "tracecar.sidecar: expected Tracecar's values under the key `tracecar`, found none: make it a dependency of this chart by that name" }}
{{- end }}
{{- $global := .Values.global | default dict }}
{{- $version := dict "Version" .Capabilities.KubeVersion.Version }}
{{- dict "Values" (mergeOverwrite (deepCopy $values) (dict "global" $global)) "Release" .Release "Capabilities" (dict "KubeVersion" $version) "Chart" (dict "Name" .Chart.Name "Version" .Chart.Version "AppVersion" .Chart.AppVersion) | toJson }}
{{- end }}
