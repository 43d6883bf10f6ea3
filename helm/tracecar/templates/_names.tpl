{{/* Names and labels. Each template takes a chart's context. */}}

{{- define "tracecar.name" -}}
{{- tpl (default "tracecar" .Values.nameOverride) . | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tracecar.fullname" -}}
{{- $name := include "tracecar.name" . }}
{{- if .Values.fullnameOverride }}
{{- tpl .Values.fullnameOverride . | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tracecar.serviceAccountName" -}}
{{- $account := .Values.serviceAccount | default dict }}
{{- if $account.name }}{{ tpl $account.name . }}
{{- else if $account.create }}{{ include "tracecar.fullname" . }}
{{- else }}default
{{- end }}
{{- end }}

{{- define "tracecar.selector" -}}
app.kubernetes.io/name: {{ include "tracecar.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* commonLabels may set app.kubernetes.io/part-of; selectors, version and manager stay the chart's. */}}
{{- define "tracecar.labels" -}}
{{- $own := include "tracecar.selector" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | toString) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63) }}
{{- mergeOverwrite (dict "app.kubernetes.io/part-of" "tracecar") (tpl (toYaml (.Values.commonLabels | default dict)) . | fromYaml) $own | toYaml }}
{{- end }}

{{- /* metadata of an object: (dict "root" $ "name" "…" "labels" {…} "annotations" {…} "namespace" "…") */}}
{{- define "tracecar.metadata" -}}
{{- $root := .root -}}
name: {{ .name | default (include "tracecar.fullname" $root) }}
namespace: {{ .namespace | default $root.Release.Namespace }}
labels:
  {{- mergeOverwrite (deepCopy (.labels | default dict)) (include "tracecar.labels" $root | fromYaml) | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy ($root.Values.commonAnnotations | default dict)) (.annotations | default dict) }}
annotations:
  {{- tpl (toYaml .) $root | nindent 2 }}
{{- end }}
{{- end }}

{{- /* global.imageRegistry replaces image.registry, as in other charts. */}}
{{- define "tracecar.image" -}}
{{- $image := .Values.image | default dict }}
{{- if not $image.repository }}
{{- fail "image.repository is required: where you pushed the image that `docker buildx build --push` made (README: Image), for example image.registry=registry.example.org, image.repository=tracecar" }}
{{- end }}
{{- $registry := (.Values.global | default dict).imageRegistry | default $image.registry | default "" }}
{{- $name := $image.repository }}
{{- with $registry }}{{ $name = printf "%s/%s" (tpl . $ | trimSuffix "/") $name }}{{ end }}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}
{{- else }}{{ $name }}:{{ $image.tag | default (include "tracecar.appVersion" .) }}
{{- end }}
{{- end }}

{{- /* The pull secrets as a list of {name: …}: both forms, strings and objects, of imagePullSecrets and of
global.imagePullSecrets. */}}
{{- define "tracecar.pullSecrets" -}}
{{- $secrets := list }}
{{- range concat (.Values.imagePullSecrets | default list) ((.Values.global | default dict).imagePullSecrets | default list) }}
{{- $name := . }}
{{- if kindIs "map" . }}{{ $name = .name }}{{ end }}
{{- $secrets = append $secrets (dict "name" (tpl $name $)) }}
{{- end }}
{{- $secrets | uniq | toYaml }}
{{- end }}

{{- /* This chart's own appVersion: an including chart's context has its own. Generated from Chart.yaml. */}}
{{- define "tracecar.appVersion" -}}0.1.0{{- end }}
