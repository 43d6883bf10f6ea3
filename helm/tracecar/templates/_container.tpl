{{/* The container, in both modes: (dict "context" a chart's context, "sidecar" whether it stands beside a service,
"configMap" its name). A map as YAML. */}}

{{- define "tracecar.container" -}}
{{- $values := .context.Values }}
{{- $probes := $values.probes | default dict }}
{{- $health := include "tracecar.healthPort" .context | int }}
name: tracecar
image: {{ include "tracecar.image" .context | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- if and .sidecar (include "tracecar.isNative" .context) }}
restartPolicy: Always
{{- end }}
args: [run, -c, /etc/tracecar/config/tracecar.yaml]
env:
  - {name: HOME, value: /var/lib/tracecar}
  - {name: TRACECAR_URL, value: "http://127.0.0.1:{{ include "tracecar.apiPort" .context }}"}
  - {name: TRACECAR_TOKEN_FILE, value: {{ include "tracecar.tokenFile" .context | quote }}}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or $values.existingSecret $values.extraEnvFrom }}
envFrom:
  {{- with $values.existingSecret }}
  - secretRef: {name: {{ . | quote }}}
  {{- end }}
  {{- with $values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - {name: tracecar-health, containerPort: {{ $health }}, protocol: TCP}
  {{- if include "tracecar.apiOpen" .context }}
  - {name: tracecar-api, containerPort: {{ include "tracecar.apiPort" .context }}, protocol: TCP}
  {{- end }}
{{- if not .sidecar }}
startupProbe:
  {{- mergeOverwrite (dict "httpGet" (dict "path" "/healthz" "port" "tracecar-health") "periodSeconds" 2 "failureThreshold" 60) (deepCopy ($probes.startup | default dict)) | toYaml | nindent 2 }}
readinessProbe:
  {{- mergeOverwrite (dict "httpGet" (dict "path" "/readyz" "port" "tracecar-health") "periodSeconds" 5 "timeoutSeconds" 3) (deepCopy ($probes.readiness | default dict)) | toYaml | nindent 2 }}
{{- end }}
livenessProbe:
  {{- mergeOverwrite (dict "httpGet" (dict "path" "/healthz" "port" "tracecar-health") "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6) (ternary (dict "initialDelaySeconds" 10) dict .sidecar) (deepCopy ($probes.liveness | default dict)) | toYaml | nindent 2 }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  - {name: tracecar-config, mountPath: /etc/tracecar/config, readOnly: true}
  - {name: tracecar-state, mountPath: /var/lib/tracecar}
  - {name: tracecar-tmp, mountPath: /tmp}
  {{- if $values.schemasConfigMap }}
  - {name: tracecar-schemas, mountPath: /etc/tracecar/schemas, readOnly: true}
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* The container's volumes, a list as YAML: (dict "context" … "configMap" …). */}}
{{- define "tracecar.volumes" -}}
- name: tracecar-config
  configMap: {name: {{ .configMap | quote }}}
- name: tracecar-state
  emptyDir: {sizeLimit: 16Mi}
- name: tracecar-tmp
  emptyDir: {sizeLimit: 64Mi}
{{- with .context.Values.schemasConfigMap }}
- name: tracecar-schemas
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- with .context.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What changes with configuration and Secret, so that pods roll. A Secret is seen where Helm may ask the cluster. */}}
{{- define "tracecar.checksums" -}}
checksum/tracecar-config: {{ include "tracecar.config" . | sha256sum }}
{{- with .Values.existingSecret }}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace . }}
{{- if $secret }}
checksum/tracecar-secret: {{ $secret.data | toJson | sha256sum }}
{{- end }}
{{- end }}
{{- end }}

{{- /* "true" where sidecars are init containers that go on running. */}}
{{- define "tracecar.isNative" -}}
{{- $native := .Values.sidecar.native | toString }}
{{- if eq $native "auto" }}
{{- if semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- else if eq $native "true" }}true
{{- end }}
{{- end }}
