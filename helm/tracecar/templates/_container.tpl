{{/* The container, in every mode: (dict "context" a chart's context, "sidecar" true beside a service). A map as YAML. */}}

{{- define "tracecar.container" -}}
{{- $context := .context }}
{{- $values := $context.Values }}
{{- $probes := $values.probes | default dict }}
{{- $prefix := include "tracecar.prefix" $context }}
{{- $health := include "tracecar.healthPort" $context | int }}
{{- include "tracecar.checkEnvironment" (dict "context" $context) }}
name: tracecar
image: {{ include "tracecar.image" $context | quote }}
imagePullPolicy: {{ (include "tracecar.section" (dict "context" $context "name" "image") | fromYaml).pullPolicy }}
{{- if and .sidecar (include "tracecar.isNative" $context) }}
restartPolicy: Always
{{- end }}
args: [run, -c, /etc/tracecar/config/tracecar.yaml{{ if .sidecar }}, --stay{{ end }}]
env:
  - {name: HOME, value: /var/lib/tracecar}
  - {name: TRACECAR_URL, value: "http://{{ include "tracecar.apiLoopback" $context }}:{{ include "tracecar.apiPort" $context }}"}
  - {name: TRACECAR_TOKEN_FILE, value: {{ include "tracecar.tokenFile" $context | quote }}}
  {{- with $values.extraEnv }}
  {{- include "tracecar.rendered" (dict "context" $context "value" . "at" (printf "%sextraEnv" $prefix)) | nindent 2 }}
  {{- end }}
{{- if or $values.existingSecret $values.extraEnvFrom }}
envFrom:
  {{- if $values.existingSecret }}
  - secretRef: {name: {{ include "tracecar.existingSecret" $context | quote }}{{ if .sidecar }}, optional: true{{ end }}}
  {{- end }}
  {{- with $values.extraEnvFrom }}
  {{- include "tracecar.rendered" (dict "context" $context "value" . "at" (printf "%sextraEnvFrom" $prefix)) | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - {name: tracecar-health, containerPort: {{ $health }}, protocol: TCP}
  {{- if include "tracecar.apiOpen" $context }}
  - {name: tracecar-api, containerPort: {{ include "tracecar.apiPort" $context }}, protocol: TCP}
  {{- end }}
{{- if not .sidecar }}
{{- include "tracecar.probe" (dict "context" $context "name" "startupProbe" "given" $probes.startup "path" "/healthz" "defaults" (dict "periodSeconds" 2 "failureThreshold" 60)) }}
{{- include "tracecar.probe" (dict "context" $context "name" "readinessProbe" "given" $probes.readiness "path" "/readyz" "defaults" (dict "periodSeconds" 5 "timeoutSeconds" 3)) }}
{{- end }}
{{- include "tracecar.probe" (dict "context" $context "name" "livenessProbe" "given" $probes.liveness "path" "/healthz" "defaults" (mergeOverwrite (dict "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6) (ternary (dict "initialDelaySeconds" 10) dict .sidecar))) }}
{{- if not .sidecar }}
{{- with $values.lifecycle }}
lifecycle:
  {{- include "tracecar.rendered" (dict "context" $context "value" . "at" (printf "%slifecycle" $prefix)) | nindent 2 }}
{{- end }}
{{- end }}
{{- with $values.resources }}
resources:
  {{- include "tracecar.rendered" (dict "context" $context "value" . "at" (printf "%sresources" $prefix)) | nindent 2 }}
{{- end }}
securityContext:
  {{- include "tracecar.securityContext" (dict "context" $context "name" "securityContext") | nindent 2 }}
volumeMounts:
  - {name: tracecar-config, mountPath: /etc/tracecar/config, readOnly: true}
  - {name: tracecar-state, mountPath: /var/lib/tracecar}
  - {name: tracecar-tmp, mountPath: /tmp}
  {{- if $values.schemasConfigMap }}
  - {name: tracecar-schemas, mountPath: /etc/tracecar/schemas, readOnly: true}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- include "tracecar.rendered" (dict "context" $context "value" . "at" (printf "%sextraVolumeMounts" $prefix)) | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* A probe: (dict "name" … "given" the values "path" … "defaults" …). Another handler replaces the default one;
`enabled: false` leaves the probe out. */}}
{{- define "tracecar.probe" -}}
{{- $given := include "tracecar.rendered" (dict "context" .context "value" .given "at" (printf "%sprobes.%s" (include "tracecar.prefix" .context) (trimSuffix "Probe" .name))) | fromYaml }}
{{- if or (not (hasKey $given "enabled")) $given.enabled }}
{{- $handler := dict "httpGet" (dict "path" .path "port" "tracecar-health") }}
{{- $handlers := list }}
{{- range $other := list "exec" "grpc" "httpGet" "tcpSocket" }}
{{- if index $given $other }}{{ $handlers = append $handlers $other }}{{ end }}
{{- end }}
{{- if gt (len $handlers) 1 }}
{{- fail (printf "%sprobes.%s: expected one handler, found %s" (include "tracecar.prefix" .context) (trimSuffix "Probe" .name) (join " and " $handlers)) }}
{{- end }}
{{- if and $handlers (not (has "httpGet" $handlers)) }}{{ $handler = dict }}{{ end }}
{{ .name }}:
  {{- mergeOverwrite $handler .defaults (omit $given "enabled") | toYaml | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The container's volumes, a list as YAML: (dict "context" … "configMap" … "sidecar" …). Beside a service every
reference is optional: a pod whose ConfigMap is missing starts all the same, and Tracecar reports 503. */}}
{{- define "tracecar.volumes" -}}
{{- $optional := ternary (dict "optional" true) dict (default false .sidecar) }}
- name: tracecar-config
  configMap: {{ merge (dict "name" .configMap) $optional | toJson }}
- name: tracecar-state
  emptyDir: {sizeLimit: 16Mi}
{{- /* The history stages rows here, and keeps parts of a bucket's files. */}}
- name: tracecar-tmp
  emptyDir: {sizeLimit: {{ ternary "2Gi" "64Mi" (hasKey (.context.Values.config | default dict) "history") }}}
{{- with .context.Values.schemasConfigMap }}
- name: tracecar-schemas
  configMap: {{ merge (dict "name" (include "tracecar.renderText" (dict "context" $.context "text" . "at" (printf "%sschemasConfigMap" (include "tracecar.prefix" $.context))))) $optional | toJson }}
{{- end }}
{{- with .context.Values.extraVolumes }}
{{ include "tracecar.rendered" (dict "context" $.context "value" . "at" (printf "%sextraVolumes" (include "tracecar.prefix" $.context))) }}
{{- end }}
{{- end }}

{{- /* Checksums, so that pods roll when the configuration or the Secret changes. Helm sees the Secret if it may read the
cluster; `secretChecksum: false` leaves it out, so that Helm and GitOps tools render the same. */}}
{{- define "tracecar.checksums" -}}
checksum/tracecar-config: {{ include "tracecar.config" . | sha256sum }}
{{- if and .Values.existingSecret (ne (toString .Values.secretChecksum) "false") }}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "tracecar.existingSecret" .) }}
{{- if $secret }}
checksum/tracecar-secret: {{ $secret.data | toJson | sha256sum }}
{{- end }}
{{- end }}
{{- end }}

{{- /* "true" if sidecars are init containers that keep running. */}}
{{- define "tracecar.isNative" -}}
{{- $native := (.Values.sidecar | default dict).native | default "auto" | toString }}
{{- if kindIs "bool" (.Values.sidecar | default dict).native }}{{ $native = (.Values.sidecar.native | toString) }}{{ end }}
{{- if eq $native "auto" }}
{{- if semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- else if eq $native "true" }}true
{{- end }}
{{- end }}
