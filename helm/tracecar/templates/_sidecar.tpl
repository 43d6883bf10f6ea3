{{/* Tracecar beside a service: named templates for other charts. Such a chart has this one as the dependency `tracecar`,
with its values under that key. In one line, where the chart's template `shop.deployment` renders the workload:

{{ include "tracecar.beside" (list . "shop.deployment") }}

The template may render several documents; exactly one of them is the workload. All others are kept as they are. A third
element holds options: (list . "shop.worker" (dict "name" "worker" "values" (dict "config" (dict "service" "shop-worker")))).
`values` are merged over the values under `tracecar`; `name` gives the workload a ConfigMap of its own.

Or part by part. Each part takes the including chart's context:

  {{- if include "tracecar.sidecar.native" . }}
  initContainers:
    {{- include "tracecar.sidecar" . | nindent 4 }}
  {{- end }}
  containers:
    - name: shop
    {{- if not (include "tracecar.sidecar.native" .) }}
    {{- include "tracecar.sidecar" . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "tracecar.sidecar.volumes" . | nindent 4 }}

In a file of its own: {{ include "tracecar.sidecar.config" . }}
In the pod's annotations, so that pods roll: {{- include "tracecar.sidecar.annotations" . | nindent 4 }}
In NOTES.txt: {{ include "tracecar.sidecar.notes" (list . "deploy/NAME") }} */}}

{{- define "tracecar.sidecar" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.check" $context }}
{{- include "tracecar.checkBeside" $context }}
- {{ include "tracecar.container" (dict "context" $context "sidecar" true) | nindent 2 | trim }}
{{- end }}

{{- /* The documents of a template, with the sidecar, its volumes, labels and annotations in the one workload among them,
and the ConfigMap: (list . "TEMPLATE") or (list . "TEMPLATE" (dict "name" … "values" …)). A workload that has a container
named tracecar stays as it is. Without `tracecar.enabled`, and for a template that renders nothing, the documents stay as
they are. */}}
{{- define "tracecar.beside" -}}
{{- $root := index . 0 }}
{{- $name := index . 1 }}
{{- $options := dict }}
{{- if gt (len .) 2 }}{{ $options = index . 2 | default dict }}{{ end }}
{{- range $option, $_ := $options }}
{{- if not (has $option (list "name" "values")) }}
{{- fail (printf "tracecar.beside: unknown option %q for the template %s: expected name or values" $option $name) }}
{{- end }}
{{- end }}
{{- if and $options.values (not $options.name) }}
{{- fail (printf "tracecar.beside: the options of the template %s have values but no name: `name` names the ConfigMap that holds them" $name) }}
{{- end }}
{{- $text := include $name $root }}
{{- if not (include "tracecar.sidecar.enabled" $root) }}
{{- $text }}
{{- else }}
{{- $context := $root }}
{{- if $options.name }}
{{- $context = include "tracecar.sidecar.derived" (dict "root" $root "name" $options.name "values" ($options.values | default dict)) | fromJson }}
{{- end }}
{{- $documents := list }}
{{- $workloads := list }}
{{- range regexSplit "(?m)^---[ \\t]*(#.*)?$" $text -1 }}
{{- $document := . | fromYaml }}
{{- if and (hasKey $document "Error") (not (hasKey $document "kind")) }}
{{- fail (printf "tracecar.beside: the template %s renders YAML that cannot be read: %s" $name $document.Error) }}
{{- end }}
{{- if $document }}
{{- $spec := $document.spec | default dict }}
{{- if eq ($document.kind | default "") "CronJob" }}{{ $spec = ($spec.jobTemplate | default dict).spec | default dict }}{{ end }}
{{- $template := $spec.template | default dict }}
{{- if and (kindIs "map" $template) (kindIs "map" ($template.spec | default list)) }}
{{- $_ := include "tracecar.beside.add" (dict "context" $context "workload" $document "template" $template) }}
{{- $workloads = append $workloads ($document.kind | default "") }}
{{- end }}
{{- $documents = append $documents (toYaml $document) }}
{{- end }}
{{- end }}
{{- if and $documents (ne (len $workloads) 1) }}
{{- fail (printf "tracecar.beside: expected the template %s to render one workload (an object with a pod template, such as a Deployment), found %s. Include the templates one by one, with a `name` for each" $name (ternary "none" (join ", " $workloads) (empty $workloads))) }}
{{- end }}
{{- if $documents }}
{{- $config := include "tracecar.sidecar.config" $context }}
{{- /* Workloads of one chart share a ConfigMap: it is rendered once. */}}
{{- $rendered := $root.Values.tracecar.renderedConfigMaps | default list }}
{{- $configMap := include "tracecar.sidecar.configMap" $context }}
{{- if not (has $configMap $rendered) }}
{{- $_ := set $root.Values.tracecar "renderedConfigMaps" (append $rendered $configMap) }}
{{- $documents = append $documents $config }}
{{- end }}
{{- end }}
{{- join "\n---\n" $documents }}
{{- end }}
{{- end }}

{{- /* Adds the sidecar to a workload, in place: (dict "context" … "workload" … "template" the pod template). */}}
{{- define "tracecar.beside.add" -}}
{{- $context := .context }}
{{- $template := .template }}
{{- $kind := .workload.kind | default "" }}
{{- $called := (.workload.metadata | default dict).name | default "without a name" }}
{{- $pod := $template.spec }}
{{- $own := include "tracecar.sidecar.context" $context | fromJson }}
{{- $native := include "tracecar.sidecar.native" $context }}
{{- $names := list }}
{{- range concat ($pod.containers | default list) ($pod.initContainers | default list) }}{{ $names = append $names .name }}{{ end }}
{{- if not (has "tracecar" $names) }}
{{- if and (has $kind (list "Job" "CronJob")) (not $native) }}
{{- fail (printf "tracecar.beside: the %s %s would never complete, because this cluster (Kubernetes %s) has no native sidecars. They need Kubernetes 1.29 (or 1.28 with the feature gate SidecarContainers, and tracecar.sidecar.native=true). Run this workload without Tracecar, or watch its streams with a standalone release" $kind $called $own.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- $replicas := int ((.workload.spec | default dict).replicas | default 1) }}
{{- $_ := include "tracecar.checkShared" (dict "context" $own "replicas" $replicas "workload" (printf "%s %s" $kind $called)) }}
{{- $health := include "tracecar.healthPort" $own | int }}
{{- range concat ($pod.containers | default list) ($pod.initContainers | default list) }}
{{- $container := .name }}
{{- range .ports }}
{{- if or (eq (.name | default "") "tracecar-health") (eq (int .containerPort) $health) }}
{{- fail (printf "tracecar.beside: the container %s of the %s %s uses the port %s, which is the port of Tracecar's health checks. Change tracecar.config.health.port" $container $kind $called (.name | default (toString .containerPort))) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $pod.volumes }}
{{- if hasPrefix "tracecar-" .name }}
{{- fail (printf "tracecar.beside: the %s %s has a volume named %s. Names that begin with tracecar- belong to the sidecar: rename it" $kind $called .name) }}
{{- end }}
{{- end }}
{{- $sidecar := include "tracecar.sidecar" $context | fromYamlArray }}
{{- if $native }}
{{- $_ := set $pod "initContainers" (concat $sidecar ($pod.initContainers | default list)) }}
{{- else }}
{{- $_ := set $pod "containers" (concat ($pod.containers | default list) $sidecar) }}
{{- end }}
{{- $_ := set $pod "volumes" (concat ($pod.volumes | default list) (include "tracecar.sidecar.volumes" $context | fromYamlArray)) }}
{{- with include "tracecar.pullSecrets" $own | fromYamlArray }}
{{- $_ := set $pod "imagePullSecrets" (concat ($pod.imagePullSecrets | default list) . | uniq) }}
{{- end }}
{{- $about := $template.metadata | default dict }}
{{- $_ := set $about "labels" (merge (include "tracecar.sidecar.labels" $context | fromYaml) ($about.labels | default dict)) }}
{{- $_ := set $about "annotations" (merge (include "tracecar.sidecar.annotations" $context | fromYaml) ($about.annotations | default dict)) }}
{{- $_ := set $template "metadata" $about }}
{{- end }}
{{- end }}

{{- /* "true" unless the including chart switches the sidecar off with `tracecar.enabled: false`. */}}
{{- define "tracecar.sidecar.enabled" -}}
{{- $values := .Values.tracecar | default dict }}
{{- if hasKey $values "enabled" }}{{ if $values.enabled }}true{{ end }}{{ else }}true{{ end }}
{{- end }}

{{- define "tracecar.sidecar.volumes" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.volumes" (dict "context" $context "configMap" (include "tracecar.sidecar.configMap" .) "sidecar" true) }}
{{- end }}

{{- define "tracecar.sidecar.annotations" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- mergeOverwrite (deepCopy ($context.Values.podAnnotations | default dict)) (include "tracecar.checksums" $context | fromYaml) | toYaml }}
{{- end }}

{{- /* Labels of the pod. PodMonitors select by tracecar.io/release. */}}
{{- define "tracecar.sidecar.labels" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- mergeOverwrite (deepCopy ($context.Values.podLabels | default dict)) (dict "tracecar.io/sidecar" "true" "tracecar.io/release" (include "tracecar.sidecar.release" .)) | toYaml }}
{{- end }}

{{- /* The value of the label tracecar.io/release: the release and the chart that include the sidecar. */}}
{{- define "tracecar.sidecar.release" -}}
{{- printf "%s.%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" | trimSuffix "." }}
{{- end }}

{{- define "tracecar.sidecar.config" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "tracecar.sidecar.configMap" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- $own := dict "app.kubernetes.io/name" .Chart.Name "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/managed-by" .Release.Service "app.kubernetes.io/component" "tracecar" }}
    {{- mergeOverwrite (deepCopy ($context.Values.commonLabels | default dict)) $own | toYaml | nindent 4 }}
  {{- with $context.Values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
data:
  tracecar.yaml: |
    {{- include "tracecar.config" $context | nindent 4 }}
{{- end }}

{{- /* For the including chart's NOTES.txt: how to see what a workload's sidecar sees: (list . "deploy/NAME"). */}}
{{- define "tracecar.sidecar.notes" -}}
{{- if include "tracecar.sidecar.enabled" (index . 0) }}
{{- $target := index . 1 }}
{{- $context := include "tracecar.sidecar.context" (index . 0) | fromJson }}
{{- $at := printf "%s -n %s" $target $context.Release.Namespace }}
{{- $inside := printf "kubectl exec %s -c tracecar --" $at -}}
Tracecar watches the streams of {{ include "tracecar.service" $context }} beside {{ $target }}. Open the dashboard over kubectl:

  tracecar tui --kube {{ $at }}

Print the token (for `--token`), and the dead letters by cause:
{{ if $context.Values.existingSecret }}
  kubectl get secret {{ include "tracecar.existingSecret" $context }} -n {{ $context.Release.Namespace }} -o jsonpath='{.data.TRACECAR_TOKEN}' | base64 -d
{{- else }}
  {{ $inside }} cat {{ include "tracecar.tokenFile" $context }}
{{- end }}
  {{ $inside }} tracecar dlq groups

If it shows nothing, test every connection and permission:

  {{ $inside }} tracecar check -c /etc/tracecar/config/tracecar.yaml
{{- end }}
{{- end }}

{{- define "tracecar.sidecar.configMap" -}}
{{- $values := .Values.tracecar | default dict }}
{{- with ($values.sidecar | default dict).configMap }}{{ tpl . $ }}
{{- else }}
{{- $name := printf "%s-%s" .Release.Name .Chart.Name }}
{{- with $values.workloadName }}{{ $name = printf "%s-%s" $name . }}{{ end }}
{{- printf "%s-tracecar" ($name | trunc 54 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{- /* "true" if the container belongs under initContainers. */}}
{{- define "tracecar.sidecar.native" -}}
{{- include "tracecar.isNative" (include "tracecar.sidecar.context" . | fromJson) }}
{{- end }}

{{- /* The including chart's context, with other values under `tracecar`, for one of its workloads. */}}
{{- define "tracecar.sidecar.derived" -}}
{{- $root := .root }}
{{- $values := mergeOverwrite (deepCopy (omit $root.Values.tracecar "renderedConfigMaps")) (deepCopy .values) (dict "workloadName" .name) }}
{{- $version := dict "Version" $root.Capabilities.KubeVersion.Version }}
{{- dict "Values" (dict "tracecar" $values "global" ($root.Values.global | default dict)) "Release" $root.Release "Capabilities" (dict "KubeVersion" $version) "Chart" (dict "Name" $root.Chart.Name "Version" $root.Chart.Version "AppVersion" $root.Chart.AppVersion) "Template" (dict "BasePath" $root.Template.BasePath "Name" $root.Template.Name) | toJson }}
{{- end }}

{{- /* The including chart's context, with this chart's values in place of its own. */}}
{{- define "tracecar.sidecar.context" -}}
{{- $values := .Values.tracecar }}
{{- if not $values }}
{{- fail "tracecar.sidecar: expected Tracecar's values under the key `tracecar`, found none: make it a dependency of this chart by that name (an alias is not supported, so a chart has one sidecar per workload)" }}
{{- end }}
{{- $global := .Values.global | default dict }}
{{- $version := dict "Version" .Capabilities.KubeVersion.Version }}
{{- dict "Values" (mergeOverwrite (deepCopy $values) (dict "global" $global)) "Release" .Release "Capabilities" (dict "KubeVersion" $version) "Chart" (dict "Name" .Chart.Name "Version" .Chart.Version "AppVersion" .Chart.AppVersion) "Template" (dict "BasePath" .Template.BasePath "Name" .Template.Name) | toJson }}
{{- end }}
