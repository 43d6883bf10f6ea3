{{/* Tracecar beside a service: for other charts, which have this one as the dependency `tracecar` and its values under
that key. Each takes the including chart's context:

  initContainers:                                       # with `containers:`, where tracecar.sidecar.native is empty
    {{- include "tracecar.sidecar" . | nindent 4 }}
  volumes:
    {{- include "tracecar.sidecar.volumes" . | nindent 4 }}

and in a file of its own: {{ include "tracecar.sidecar.config" . }}
In the pod's annotations, so that pods roll: {{- include "tracecar.sidecar.annotations" . | nindent 4 }} */}}

{{- define "tracecar.sidecar" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.check" $context }}
- {{ include "tracecar.container" (dict "context" $context "sidecar" true) | nindent 2 | trim }}
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
