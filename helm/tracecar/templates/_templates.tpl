{{/* Strings of the values are templates. Each is rendered alone, so that what it renders cannot change the YAML around it, and
a mistake is named with its place: Helm's own error would show a template of this chart. */}}

{{- /* A map or list of values with its templates rendered, as YAML: (dict "context" … "value" … "at" the value's place). */}}
{{- define "tracecar.rendered" -}}
{{- $value := .value | default dict }}
{{- if contains "{{" (toJson $value) }}
{{- $box := dict "" (deepCopy $value) }}
{{- include "tracecar.renderWithin" (dict "context" .context "parent" $box "at" (.at | default "a value")) }}
{{- $value = get $box "" }}
{{- end }}
{{- toYaml $value }}
{{- end }}

{{- /* Renders the strings in a map, and its keys, in place: (dict "context" … "parent" the map "at" …). The key "" adds nothing
to the place. */}}
{{- define "tracecar.renderWithin" -}}
{{- $call := . }}
{{- range $key, $value := .parent }}
{{- $at := ternary $call.at (printf "%s.%s" $call.at $key) (eq $key "") }}
{{- if kindIs "string" $value }}
{{- if contains "{{" $value }}
{{- $_ := set $call.parent $key (include "tracecar.renderText" (dict "context" $call.context "text" $value "at" $at)) }}
{{- end }}
{{- else if kindIs "map" $value }}
{{- include "tracecar.renderWithin" (dict "context" $call.context "parent" $value "at" $at) }}
{{- else if kindIs "slice" $value }}
{{- $items := list }}
{{- range $number, $item := $value }}
{{- $box := dict "" $item }}
{{- include "tracecar.renderWithin" (dict "context" $call.context "parent" $box "at" (printf "%s[%d]" $at $number)) }}
{{- $items = append $items (get $box "") }}
{{- end }}
{{- $_ := set $call.parent $key $items }}
{{- end }}
{{- if contains "{{" $key }}
{{- $rendered := include "tracecar.renderText" (dict "context" $call.context "text" $key "at" $call.at) }}
{{- $_ := set $call.parent $rendered (get $call.parent $key) }}
{{- $_ := unset $call.parent $key }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A text with its templates rendered: (dict "context" … "text" … "at" …). Vault, Grafana and others have templates with
the same braces, which are a mistake here. */}}
{{- define "tracecar.renderText" -}}
{{- $text := .text | default "" }}
{{- if contains "{{" $text }}
{{- $known := include "tracecar.templateWords" . | splitList " " }}
{{- $quoted := "\"(?:\\\\.|[^\"\\\\])*\"|`[^`]*`" }}
{{- $action := printf "(?s)[{][{](?:%s|[^\"`}]|[}][^}])*[}][}]" $quoted }}
{{- $remedy := "Strings of the values are templates of Helm: write a literal {{ as {{ \"{{\" }}" }}
{{- range regexFindAll $action $text -1 }}
{{- if not (regexMatch "^[{][{]-? */[*]" .) }}
{{- $words := regexReplaceAll $quoted . " " }}
{{- $words = regexReplaceAll "[.$][A-Za-z0-9_.]*" $words " " }}
{{- range regexFindAll "\\b[A-Za-z_][A-Za-z0-9_]*" $words -1 }}
{{- if not (has . $known) }}
{{- fail (printf "%s: Helm has no template function %q. %s" $.at . $remedy) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if contains "{{" (regexReplaceAll $action $text "") }}
{{- fail (printf "%s: found {{ without }}. %s" .at $remedy) }}
{{- end }}
{{- tpl $text .context }}
{{- else }}{{ $text }}
{{- end }}
{{- end }}

{{- /* The documents of a text of YAML, as a list: (dict "text" …). A line `---` may have a comment or the beginning of a document
after it, and Windows' ends of lines. The list is in JSON, under the key documents. */}}
{{- define "tracecar.documents" -}}
{{- $text := .text | replace "\r\n" "\n" }}
{{- $text = regexReplaceAll "(?m)^---[ \\t]+([^ \\t#\\n])" $text "---\n${1}" }}
{{- dict "documents" (regexSplit "(?m)^(---|[.][.][.])[ \\t]*(#.*)?$" $text -1) | toJson }}
{{- end }}

{{- /* The functions and keywords of Helm's templates. */}}
{{- define "tracecar.templateWords" -}}
{{- list "abbrev abbrevboth add add1 add1f addf adler32sum ago all and any append atoi b32dec b32enc b64dec b64enc base bcrypt"
"date_in_zone date_modify must_date_modify biggest block break buildCustomCert call camelcase cat ceil chunk clean coalesce compact concat contains continue date"
"dateInZone dateModify decryptAES deepCopy deepEqual default define derivePassword dict dig dir div divf duration"
"durationRound else empty encryptAES end eq ext fail false first float64 floor fromJson fromJsonArray fromToml fromYaml"
"fromYamlArray ge genCA genCAWithKey genPrivateKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert"
"genSignedCertWithKey get getHostByName gt has hasKey hasPrefix hasSuffix hello html htmlDate htmlDateInZone htpasswd if"
"include indent index initial initials int int64 isAbs join js kebabcase keys kindIs kindOf last le len list lookup lower"
"lt max maxf merge mergeOverwrite min minf mod mul mulf mustAppend mustChunk mustCompact mustDateModify mustDeepCopy"
"mustFirst mustFromJson mustFromJsonArray mustFromToml mustFromYaml mustFromYamlArray mustHas mustInitial mustLast"
"mustMerge mustMergeOverwrite mustPrepend mustRegexFind mustRegexFindAll mustRegexMatch mustRegexReplaceAll"
"mustRegexReplaceAllLiteral mustRegexSplit mustRest mustReverse mustSlice mustToDate mustToJson mustToPrettyJson"
"mustToRawJson mustToToml mustToYaml mustUniq mustWithout ne nil nindent nospace not now omit or osBase osClean osDir"
"osExt osIsAbs pick pluck plural prepend print printf println quote randAlpha randAlphaNum randAscii randBytes randInt"
"randNumeric range regexFind regexFindAll regexMatch regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit"
"repeat replace required rest reverse round semver semverCompare seq set sha1sum sha256sum sha512sum shuffle slice"
"snakecase sortAlpha split splitList splitn squote sub subf substr swapcase template ternary title toDate toDecimal"
"toJson toPrettyJson toRawJson toString toStrings toToml toYaml toYamlPretty tpl trim trimAll trimPrefix trimSuffix"
"trimall true trunc tuple typeIs typeIsLike typeOf uniq unixEpoch unset until untilStep untitle upper urlJoin urlParse"
"urlquery uuidv4 values with without wrap wrapWith" | join " " }}
{{- end }}
