{{/* Names and labels. Each template takes a chart's context. */}}

{{- /* A map of values as YAML, with its templates rendered: (dict "context" … "name" "keda"). A scalar that is missing
(null) has its default; a map or list that is missing stays empty. */}}
{{- define "tracecar.section" -}}
{{- $section := dict }}
{{- range $key, $value := index (include "tracecar.defaults" . | fromJson) .name }}
{{- if not (or (kindIs "map" $value) (kindIs "slice" $value)) }}{{ $_ := set $section $key $value }}{{ end }}
{{- end }}
{{- range $key, $value := index .context.Values .name | default dict }}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $section $key $value }}{{ end }}
{{- end }}
{{- include "tracecar.rendered" (dict "context" .context "value" $section "at" (printf "%s%s" (include "tracecar.prefix" .context) .name)) }}
{{- end }}

{{- /* A name of at most `max` characters: (dict "name" … "max" 63). A longer one is cut and ends with a hash, so that two
long names stay two. */}}
{{- define "tracecar.fit" -}}
{{- $max := int .max }}
{{- if le (len .name) $max }}{{ .name }}
{{- else }}{{ .name | trunc (sub $max 9 | int) | trimSuffix "-" | trimSuffix "." }}-{{ sha256sum .name | trunc 8 }}
{{- end }}
{{- end }}

{{- define "tracecar.name" -}}
{{- include "tracecar.fit" (dict "name" (include "tracecar.renderText" (dict "context" . "text" (.Values.nameOverride | default .Chart.Name) "at" (printf "%snameOverride" (include "tracecar.prefix" .)))) "max" 63) }}
{{- end }}

{{- define "tracecar.fullname" -}}
{{- $name := include "tracecar.name" . }}
{{- $full := printf "%s-%s" .Release.Name $name }}
{{- if .Values.fullnameOverride }}{{ $full = include "tracecar.renderText" (dict "context" . "text" .Values.fullnameOverride "at" (printf "%sfullnameOverride" (include "tracecar.prefix" .))) }}
{{- else if contains $name .Release.Name }}{{ $full = .Release.Name }}
{{- else if eq .Values.mode "sidecar" }}
{{- /* Several charts of one release may include the sidecar: the name of each is part of the names. */}}
{{- $full = printf "%s-%s-%s" .Release.Name (include "tracecar.parentChart" .) $name }}
{{- end }}
{{- include "tracecar.fit" (dict "name" $full "max" 63) }}
{{- end }}

{{- /* The chart that depends on this one, by the chart's path; without one, this chart. */}}
{{- define "tracecar.parentChart" -}}
{{- $parts := splitList "/" .Template.BasePath }}
{{- if gt (len $parts) 3 }}{{ index $parts (sub (len $parts) 4 | int) }}{{ else }}{{ .Chart.Name }}{{ end }}
{{- end }}

{{- /* A name derived from the full name: (dict "context" … "suffix" "metrics" "max" 63). */}}
{{- define "tracecar.derivedName" -}}
{{- include "tracecar.fit" (dict "name" (printf "%s-%s" (include "tracecar.fullname" .context) .suffix) "max" (.max | default 63)) }}
{{- end }}

{{- define "tracecar.workloadKind" -}}{{ .Values.workload | default "Deployment" }}{{- end }}

{{- /* Pods of a StatefulSet carry its name with a hash of ten digits as a label, of at most 63 characters. */}}
{{- define "tracecar.workloadName" -}}
{{- $max := ternary 52 63 (eq (include "tracecar.workloadKind" .) "StatefulSet") }}
{{- include "tracecar.fit" (dict "name" (include "tracecar.fullname" .) "max" $max) }}
{{- end }}

{{- define "tracecar.serviceAccountName" -}}
{{- $account := include "tracecar.section" (dict "context" . "name" "serviceAccount") | fromYaml }}
{{- if $account.name }}{{ $account.name }}
{{- else if $account.create }}{{ include "tracecar.fullname" . }}
{{- else }}default
{{- end }}
{{- end }}

{{- define "tracecar.selector" -}}
app.kubernetes.io/name: {{ include "tracecar.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* commonLabels may set app.kubernetes.io/part-of; selectors, version and manager stay the chart's. */}}
{{- define "tracecar.labels" -}}
{{- $own := include "tracecar.selector" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | toString) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- mergeOverwrite (dict "app.kubernetes.io/part-of" "tracecar") (include "tracecar.rendered" (dict "context" . "value" .Values.commonLabels "at" (printf "%scommonLabels" (include "tracecar.prefix" .))) | fromYaml) $own | toYaml }}
{{- end }}

{{- /* metadata of an object: (dict "root" $ "name" "…" "labels" {…} "annotations" {…} "namespace" "…"). An object of the
cluster has `cluster`. */}}
{{- define "tracecar.metadata" -}}
{{- $root := .root }}
{{- include "tracecar.checkLabels" (dict "context" $root "labels" $root.Values.commonLabels "at" "commonLabels") }}
{{- include "tracecar.checkLabels" (dict "context" $root "labels" .labels "at" (.at | default "labels")) -}}
name: {{ .name | default (include "tracecar.fullname" $root) | quote }}
{{- if not .cluster }}
namespace: {{ .namespace | default $root.Release.Namespace | quote }}
{{- end }}
labels:
  {{- mergeOverwrite (include "tracecar.rendered" (dict "context" $root "value" .labels) | fromYaml) (include "tracecar.labels" $root | fromYaml) (.ownLabels | default dict) | toYaml | nindent 2 }}
{{- with mergeOverwrite (deepCopy ($root.Values.commonAnnotations | default dict)) (.annotations | default dict) }}
annotations:
  {{- include "tracecar.rendered" (dict "context" $root "value" . "at" (printf "%scommonAnnotations" (include "tracecar.prefix" $root))) | nindent 2 }}
{{- end }}
{{- end }}

{{- /* global.imageRegistry replaces image.registry, as in other charts. */}}
{{- define "tracecar.image" -}}
{{- $prefix := include "tracecar.prefix" . }}
{{- $image := include "tracecar.section" (dict "context" . "name" "image") | fromYaml }}
{{- $name := $image.repository }}
{{- if not $name }}
{{- fail (printf "%simage.repository is required: where you pushed the image that `docker buildx build --push` made (README: Image), for example %simage.registry=registry.example.org, %simage.repository=tracecar" $prefix $prefix $prefix) }}
{{- end }}
{{- $registry := include "tracecar.renderText" (dict "context" . "text" ((.Values.global | default dict).imageRegistry | default $image.registry) "at" "global.imageRegistry") | trimSuffix "/" }}
{{- if contains "://" (printf "%s/%s" $registry $name) }}
{{- fail (printf "%simage.registry, %simage.repository: expected a name without a scheme, found %s" $prefix $prefix (ternary $name $registry (contains "://" $name))) }}
{{- end }}
{{- if regexMatch "[:@][^/]*$" $name }}
{{- fail (printf "%simage.repository: expected a name without a tag or digest, found %s: put the tag into image.tag, or the digest into image.digest" $prefix $name) }}
{{- end }}
{{- with $registry }}{{ $name = printf "%s/%s" . $name }}{{ end }}
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
{{- if not (and $name (kindIs "string" $name)) }}
{{- fail (printf "%simagePullSecrets: expected names, or objects as {name: NAME}, found %s" (include "tracecar.prefix" $) (toJson .)) }}
{{- end }}
{{- $secrets = append $secrets (dict "name" (include "tracecar.renderText" (dict "context" $ "text" $name "at" (printf "%simagePullSecrets" (include "tracecar.prefix" $))))) }}
{{- end }}
{{- $secrets | uniq | toYaml }}
{{- end }}

{{- /* The id of a user or group is the platform's to choose on OpenShift: a security context as YAML, without ids there:
(dict "context" … "name" "securityContext"). */}}
{{- define "tracecar.securityContext" -}}
{{- $given := include "tracecar.rendered" (dict "context" .context "value" (index .context.Values .name) "at" (printf "%s%s" (include "tracecar.prefix" .context) .name)) | fromYaml }}
{{- if and $given.runAsNonRoot (eq (toString $given.runAsUser) "0") }}
{{- fail (printf "%s%s: runAsUser is 0, which runAsNonRoot forbids: the pod would not start" (include "tracecar.prefix" .context) .name) }}
{{- end }}
{{- $openshift := .context.Values.openshift | default "auto" | toString }}
{{- if kindIs "bool" .context.Values.openshift }}{{ $openshift = .context.Values.openshift | toString }}{{ end }}
{{- if or (eq $openshift "true") (and (eq $openshift "auto") (include "tracecar.isOpenShift" .context)) }}
{{- $given = omit $given "runAsUser" "runAsGroup" "fsGroup" }}
{{- end }}
{{- toYaml $given }}
{{- end }}

{{- /* "true" if the cluster has the API of OpenShift's security context constraints. A chart that includes the sidecar
hands the answer on in `openshift`. */}}
{{- define "tracecar.isOpenShift" -}}
{{- if hasKey . "openshift" }}{{ .openshift }}
{{- else if .Capabilities.APIVersions.Has "security.openshift.io/v1" }}true
{{- end }}
{{- end }}
