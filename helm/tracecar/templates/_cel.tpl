{{/* A value as a CEL literal of a typed object: (dict "value" … "type" "Object.spec"). Maps of texts, such as quantities and
labels, are plain maps. The text @inject@ becomes the value of the pod's label. */}}

{{- define "tracecar.cel" -}}
{{- $type := .type }}
{{- if kindIs "map" .value }}
{{- $plain := has (last (splitList "." $type)) (list "limits" "requests" "labels" "annotations" "matchLabels" "volumeAttributes" "options") }}
{{- $fields := list }}
{{- range $name, $value := .value }}
{{- if $plain }}{{ $value = toString $value }}{{ end }}
{{- $literal := include "tracecar.cel" (dict "value" $value "type" (printf "%s.%s" $type $name)) }}
{{- $fields = append $fields (printf "%s: %s" (ternary (toJson $name) $name $plain) $literal) }}
{{- end }}
{{- printf "%s{%s}" (ternary "" $type $plain) (join ", " $fields) }}
{{- else if kindIs "slice" .value }}
{{- $items := list }}
{{- range .value }}
{{- $items = append $items (include "tracecar.cel" (dict "value" . "type" $type)) }}
{{- end }}
{{- printf "[%s]" (join ", " $items) }}
{{- else if eq (.value | toString) "@inject@" }}object.metadata.labels["tracecar.io/inject"]
{{- else }}{{ toJson .value }}
{{- end }}
{{- end }}
