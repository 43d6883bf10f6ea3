{{/* Tracecar beside a service: named templates for other charts. Such a chart has this one as the dependency `tracecar`,
with its values under that key. In one line, where the chart's template `shop.deployment` renders the workload:

{{ include "tracecar.beside" (list . "shop.deployment") }}

The template may render several documents; exactly one of them is the workload. All others are kept as they are. A third
element holds options: (list . "shop.worker" (dict "name" "worker" "values" (dict "config" (dict "service" "shop-worker")))).
`values` are merged over the values under `tracecar`; `name` gives the workload a ConfigMap of its own.

Or part by part. Each part takes the including chart's context, and renders nothing if `tracecar.enabled` is false:

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
{{- if include "tracecar.sidecar.enabled" . }}
{{- include "tracecar.sidecar.container" (dict "root" . "context" . "by" (printf "the file %s" .Template.Name)) }}
{{- end }}
{{- end }}

{{- /* The container, a list of one: (dict "root" a context of the release "context" that of the workload "by" the template or
file that has the workload). */}}
{{- define "tracecar.sidecar.container" -}}
{{- $context := include "tracecar.sidecar.context" .context | fromJson }}
{{- include "tracecar.checkBeside" $context }}
{{- include "tracecar.check" $context }}
{{- include "tracecar.checkGroup" (dict "root" .root "context" $context "by" .by) }}
- {{ include "tracecar.container" (dict "context" $context "sidecar" true) | nindent 2 | trim }}
{{- end }}

{{- /* The documents of a template, with the sidecar, its volumes, labels and annotations in the one workload among them,
and the ConfigMap: (list . "TEMPLATE") or (list . "TEMPLATE" (dict "name" … "values" …)). A workload that has a container
named tracecar stays as it is. Without `tracecar.enabled`, and for a template that renders nothing, the documents stay as
they are. */}}
{{- define "tracecar.beside" -}}
{{- $call := ternary . list (kindIs "slice" .) }}
{{- $name := last $call }}
{{- $options := dict }}
{{- if eq (len $call) 3 }}
{{- $options = $name | default dict }}
{{- $name = index $call 1 }}
{{- end }}
{{- if not (and (has (len $call) (list 2 3)) (kindIs "string" $name) (kindIs "map" $options)) }}
{{- fail "tracecar.beside: expected (list . \"TEMPLATE\"), or (list . \"TEMPLATE\" (dict \"name\" \"NAME\" \"values\" (dict …)))" }}
{{- end }}
{{- $root := first $call }}
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
{{- include "tracecar.checkOptions" (dict "context" $root "name" $options.name "values" ($options.values | default dict) "template" $name) }}
{{- $context = include "tracecar.sidecar.derived" (dict "root" $root "name" $options.name "values" ($options.values | default dict)) | fromJson }}
{{- end }}
{{- $documents := list }}
{{- $workloads := list }}
{{- $scaled := dict }}
{{- range (include "tracecar.documents" (dict "text" $text) | fromJson).documents }}
{{- $document := . | fromYaml }}
{{- if and (hasKey $document "Error") (not (hasKey $document "kind")) }}
{{- fail (printf "tracecar.beside: the template %s renders YAML that cannot be read: %s" $name $document.Error) }}
{{- end }}
{{- if $document }}
{{- $template := $document }}
{{- $path := list "spec" "template" }}
{{- if eq ($document.kind | default "") "CronJob" }}{{ $path = list "spec" "jobTemplate" "spec" "template" }}
{{- else if eq ($document.kind | default "") "ScaledJob" }}{{ $path = list "spec" "jobTargetRef" "template" }}
{{- else if eq ($document.kind | default "") "Pod" }}{{ $path = list }}
{{- end }}
{{- range $path }}
{{- $template = ternary $template dict (kindIs "map" $template) }}
{{- $template = get $template . }}
{{- end }}
{{- if and (kindIs "map" $template) (kindIs "map" (get (ternary $template dict (kindIs "map" $template)) "spec")) }}
{{- if kindIs "slice" (get $template.spec "containers" | default list) }}
{{- $_ := include "tracecar.beside.add" (dict "context" $context "workload" $document "template" $template "root" $root "name" $name) }}
{{- $scaled = $document }}
{{- $workloads = append $workloads ($document.kind | default "") }}
{{- end }}
{{- end }}
{{- $documents = append $documents (toYaml $document) }}
{{- end }}
{{- end }}
{{- if and $documents (ne (len $workloads) 1) }}
{{- fail (printf "tracecar.beside: expected the template %s to render one workload (a Pod, or an object with a pod template, such as a Deployment), found %s. Include the templates one by one, with a `name` for each" $name (ternary "none" (join ", " $workloads) (empty $workloads))) }}
{{- end }}
{{- if $documents }}
{{- include "tracecar.checkScalers" (dict "root" $root "context" (include "tracecar.sidecar.context" $context | fromJson) "documents" $documents "workload" $scaled) }}
{{- $config := include "tracecar.sidecar.configObject" $context }}
{{- if include "tracecar.sidecar.isFirst" (dict "root" $root "configMap" (include "tracecar.sidecar.configMap" $context) "config" $config "by" (printf "tracecar.beside for the template %s" $name)) }}
{{- $documents = append $documents $config }}
{{- end }}
{{- end }}
{{- join "\n---\n" $documents }}
{{- end }}
{{- end }}

{{- /* "true" if this ConfigMap is not rendered yet: (dict "root" a context of the release "configMap" its name "config" …
"by" the template that renders it). `Release` is one map for all charts of a release, and keeps what they rendered. */}}
{{- define "tracecar.sidecar.isFirst" -}}
{{- $state := get .root.Release "tracecar" | default dict }}
{{- $rendered := $state.configMaps | default dict }}
{{- $other := get $rendered .configMap }}
{{- if not $other }}
{{- $_ := set $state "configMaps" (set $rendered .configMap (dict "checksum" (sha256sum .config) "by" .by)) }}
{{- $_ := set .root.Release "tracecar" $state }}true
{{- else if or (hasPrefix "tracecar.sidecar.config" .by) (hasPrefix "tracecar.sidecar.config" $other.by) }}
{{- fail (printf "the ConfigMap %s is rendered twice, by %s and by %s: remove the include of tracecar.sidecar.config, because tracecar.beside renders the ConfigMap and the checksum" .configMap $other.by .by) }}
{{- else if ne $other.checksum (sha256sum .config) }}
{{- fail (printf "two workloads would have different configurations in one ConfigMap, %s: by %s and by %s. Give one of them another option `name`, and leave tracecar.sidecar.configMap empty" .configMap $other.by .by) }}
{{- end }}
{{- end }}

{{- /* Adds the sidecar to a workload, in place: (dict "context" … "workload" … "template" the pod template "root" the including
chart's context "name" the name of the template). */}}
{{- define "tracecar.beside.add" -}}
{{- $call := . }}
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
{{- if and (has $kind (list "Job" "CronJob" "ScaledJob")) (not $native) }}
{{- fail (printf "tracecar.beside: the %s %s would never complete, because this cluster (Kubernetes %s) has no native sidecars. They need Kubernetes 1.29 (or 1.28 with the feature gate SidecarContainers, and tracecar.sidecar.native=true). Run this workload without Tracecar, or watch its streams with a standalone release" $kind $called $own.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if eq $kind "DaemonSet" }}
{{- include "tracecar.checkShared" (dict "context" $own "several" (printf "the DaemonSet %s has a pod on every node" $called)) }}
{{- end }}
{{- range $field := list "replicas" "parallelism" }}
{{- $count := int (get ($call.workload.spec | default dict) $field | default 1) }}
{{- if gt $count 1 }}
{{- include "tracecar.checkShared" (dict "context" $own "several" (printf "the %s %s has %d %s" $kind $called $count (ternary "replicas" "pods at a time" (eq $field "replicas")))) }}
{{- end }}
{{- end }}
{{- $taken := dict (include "tracecar.healthPort" $own) "health" (include "tracecar.apiPort" $own) "api" }}
{{- range concat ($pod.containers | default list) ($pod.initContainers | default list) }}
{{- $container := .name }}
{{- range .ports }}
{{- $port := .containerPort | int | toString }}
{{- if hasPrefix "tracecar-" (.name | default "") }}
{{- fail (printf "tracecar.beside: the container %s of the %s %s has a port named %s. Names that begin with tracecar- belong to the sidecar: rename it" $container $kind $called .name) }}
{{- else if and (hasKey $taken $port) (eq (.protocol | default "TCP") "TCP") }}
{{- $listener := get $taken $port }}
{{- fail (printf "tracecar.beside: the container %s of the %s %s uses the port %s, on which Tracecar's %s listens. Change tracecar.config.%s.port" $container $kind $called $port (ternary "health check" "API" (eq $listener "health")) $listener) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $pod.volumes }}
{{- if hasPrefix "tracecar-" .name }}
{{- fail (printf "tracecar.beside: the %s %s has a volume named %s. Names that begin with tracecar- belong to the sidecar: rename it" $kind $called .name) }}
{{- end }}
{{- end }}
{{- $sidecar := include "tracecar.sidecar.container" (dict "root" .root "context" $context "by" (printf "the template %s" .name)) | fromYamlArray }}
{{- if $native }}
{{- $_ := set $pod "initContainers" (concat $sidecar ($pod.initContainers | default list)) }}
{{- else }}
{{- $_ := set $pod "containers" (concat ($pod.containers | default list) $sidecar) }}
{{- end }}
{{- $volumes := $pod.volumes | default list }}
{{- $volumeNames := list }}
{{- range $volumes }}{{ $volumeNames = append $volumeNames .name }}{{ end }}
{{- include "tracecar.checkExtras" (dict "context" $own "volumes" $volumeNames) }}
{{- range $volume := include "tracecar.sidecar.volumes" $context | fromYamlArray }}
{{- if not (has $volume.name $volumeNames) }}{{ $volumes = append $volumes $volume }}
{{- else }}
{{- range $pod.volumes }}
{{- if and (eq .name $volume.name) (ne (toJson .) (toJson $volume)) }}
{{- fail (printf "tracecar.beside: the %s %s has another volume named %s than tracecar.extraVolumes: rename one of them" $kind $called .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $pod "volumes" $volumes }}
{{- with include "tracecar.pullSecrets" $own | fromYamlArray }}
{{- $_ := set $pod "imagePullSecrets" (concat ($pod.imagePullSecrets | default list) . | uniq) }}
{{- end }}
{{- $about := $template.metadata | default dict }}
{{- range $value, $given := dict "podLabels" ($about.labels | default dict) "podAnnotations" ($about.annotations | default dict) }}
{{- range $key, $text := include "tracecar.rendered" (dict "context" $own "value" (get $own.Values $value) "at" (printf "tracecar.%s" $value)) | fromYaml }}
{{- if and (hasKey $given $key) (ne (get $given $key | toString) (toString $text)) }}
{{- fail (printf "tracecar.%s: the pod of the %s %s has %s already, with the value %s: remove it" $value $kind $called $key (get $given $key | toString)) }}
{{- end }}
{{- end }}
{{- end }}
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
{{- if include "tracecar.sidecar.enabled" . }}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.volumes" (dict "context" $context "configMap" (include "tracecar.sidecar.configMap" .) "sidecar" true) }}
{{- end }}
{{- end }}

{{- define "tracecar.sidecar.annotations" -}}
{{- if include "tracecar.sidecar.enabled" . }}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- mergeOverwrite (include "tracecar.rendered" (dict "context" $context "value" $context.Values.podAnnotations "at" "tracecar.podAnnotations") | fromYaml) (include "tracecar.checksums" $context | fromYaml) | toYaml }}
{{- end }}
{{- end }}

{{- /* Labels of the pod. PodMonitors select by tracecar.io/release. */}}
{{- define "tracecar.sidecar.labels" -}}
{{- if include "tracecar.sidecar.enabled" . }}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.checkLabels" (dict "context" $context "labels" $context.Values.podLabels "at" "podLabels") }}
{{- mergeOverwrite (include "tracecar.rendered" (dict "context" $context "value" $context.Values.podLabels "at" "tracecar.podLabels") | fromYaml) (dict "tracecar.io/sidecar" "true" "tracecar.io/release" (include "tracecar.sidecar.release" .)) | toYaml }}
{{- end }}
{{- end }}

{{- /* The value of the label tracecar.io/release: the release and the chart that include the sidecar. */}}
{{- define "tracecar.sidecar.release" -}}
{{- include "tracecar.fit" (dict "name" (printf "%s.%s" .Release.Name .Chart.Name) "max" 63) }}
{{- end }}

{{- /* Part by part: the ConfigMap. */}}
{{- define "tracecar.sidecar.config" -}}
{{- if include "tracecar.sidecar.enabled" . }}
{{- $config := include "tracecar.sidecar.configObject" . }}
{{- $by := "tracecar.sidecar.config" }}
{{- $other := get ((get .Release "tracecar" | default dict).configMaps | default dict) (include "tracecar.sidecar.configMap" .) }}
{{- if ne (get ($other | default dict) "by") $by }}{{ $_ := include "tracecar.sidecar.isFirst" (dict "root" . "configMap" (include "tracecar.sidecar.configMap" .) "config" $config "by" $by) }}{{ end }}
{{- $config }}
{{- end }}
{{- end }}

{{- define "tracecar.sidecar.configObject" -}}
{{- $context := include "tracecar.sidecar.context" . | fromJson }}
{{- include "tracecar.checkLabels" (dict "context" $context "labels" $context.Values.commonLabels "at" "commonLabels" "more" (list "app.kubernetes.io/component")) }}
{{- $own := dict "app.kubernetes.io/name" .Chart.Name "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/managed-by" .Release.Service "app.kubernetes.io/component" "tracecar" }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "tracecar.sidecar.configMap" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
  labels:
    {{- mergeOverwrite (include "tracecar.rendered" (dict "context" $context "value" $context.Values.commonLabels "at" "tracecar.commonLabels") | fromYaml) $own | toYaml | nindent 4 }}
  {{- with $context.Values.commonAnnotations }}
  annotations:
    {{- include "tracecar.rendered" (dict "context" $context "value" . "at" "tracecar.commonAnnotations") | nindent 4 }}
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
{{- with ($values.sidecar | default dict).configMap }}{{ include "tracecar.renderText" (dict "context" $ "text" . "at" "tracecar.sidecar.configMap") }}
{{- else }}
{{- $name := printf "%s-%s" .Release.Name .Chart.Name }}
{{- with $values.workloadName }}{{ $name = printf "%s-%s" $name . }}{{ end }}
{{- include "tracecar.fit" (dict "name" (printf "%s-tracecar" $name) "max" 253) }}
{{- end }}
{{- end }}

{{- /* "true" if the container belongs under initContainers. */}}
{{- define "tracecar.sidecar.native" -}}
{{- if include "tracecar.sidecar.enabled" . }}{{ include "tracecar.isNative" (include "tracecar.sidecar.context" . | fromJson) }}{{ end }}
{{- end }}

{{- /* The including chart's context, with other values under `tracecar`, for one of its workloads. */}}
{{- define "tracecar.sidecar.derived" -}}
{{- $root := .root }}
{{- $values := mergeOverwrite (deepCopy $root.Values.tracecar) (deepCopy .values) (dict "workloadName" .name) }}
{{- $values = dict "tracecar" $values "global" ($root.Values.global | default dict) }}
{{- include "tracecar.plainContext" (dict "root" $root "values" $values "prefix" "tracecar.") }}
{{- end }}

{{- /* The including chart's context, with this chart's values in place of its own. */}}
{{- define "tracecar.sidecar.context" -}}
{{- $values := .Values.tracecar }}
{{- if not $values }}
{{- fail "tracecar.sidecar: expected Tracecar's values under the key `tracecar`, found none: make it a dependency of this chart by that name (an alias is not supported, so a chart has one sidecar per workload)" }}
{{- end }}
{{- $values = mergeOverwrite (deepCopy $values) (dict "global" (.Values.global | default dict)) }}
{{- include "tracecar.plainContext" (dict "root" . "values" $values "prefix" "tracecar.") }}
{{- end }}

{{- /* A context with other values, as JSON, which holds no functions: (dict "root" a context "values" … "prefix" what stands
before the names of values in messages). */}}
{{- define "tracecar.plainContext" -}}
{{- $root := .root }}
{{- $version := dict "Version" $root.Capabilities.KubeVersion.Version }}
{{- $chart := dict "Name" $root.Chart.Name "Version" $root.Chart.Version "AppVersion" $root.Chart.AppVersion }}
{{- $template := dict "BasePath" $root.Template.BasePath "Name" $root.Template.Name }}
{{- dict "Values" .values "Release" (omit $root.Release "tracecar") "Capabilities" (dict "KubeVersion" $version) "Chart" $chart "Template" $template "prefix" .prefix "openshift" (include "tracecar.isOpenShift" $root) | toJson }}
{{- end }}
