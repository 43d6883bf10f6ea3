{{/* Names and labels. Each takes a chart's context. */}}

{{- define "tracecar.name" -}}
{{- default "tracecar" .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tracecar.fullname" -}}
{{- $name := include "tracecar.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tracecar.serviceAccountName" -}}
{{- if .Values.serviceAccount.name }}{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create }}{{ include "tracecar.fullname" . }}
{{- else }}default
{{- end }}
{{- end }}

{{- define "tracecar.selector" -}}
app.kubernetes.io/name: {{ include "tracecar.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tracecar.labels" -}}
{{- $own := include "tracecar.selector" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | toString) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63) }}
{{- $_ := set $own "app.kubernetes.io/part-of" "tracecar" }}
{{- mergeOverwrite (deepCopy (.Values.commonLabels | default dict)) $own | toYaml }}
{{- end }}

{{- /* metadata of an object: (dict "root" $ "name" "…" "labels" {…} "annotations" {…}) */}}
{{- define "tracecar.metadata" -}}
{{- $root := .root -}}
name: {{ .name | default (include "tracecar.fullname" $root) }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- mergeOverwrite (deepCopy (.labels | default dict)) (include "tracecar.labels" $root | fromYaml) | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy ($root.Values.commonAnnotations | default dict)) (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tracecar.image" -}}
{{- $registry := "" }}
{{- with (.Values.global | default dict).imageRegistry }}{{ $registry = printf "%s/" (trimSuffix "/" .) }}{{ end }}
{{- $image := .Values.image }}
{{- if $image.digest }}{{ $registry }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $registry }}{{ $image.repository }}:{{ $image.tag | default (include "tracecar.appVersion" .) }}
{{- end }}
{{- end }}

{{- /* This chart's own appVersion: an including chart's context has its own. */}}
{{- define "tracecar.appVersion" -}}0.1.0{{- end }}
