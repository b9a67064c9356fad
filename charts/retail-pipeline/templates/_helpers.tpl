{{/* What the objects are called: the release's name, with retail-operator after it unless it says so already. */}}
{{- define "retail.name" -}}
{{- default "retail-operator" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters, so that a suffix still fits into 63. */}}
{{- define "retail.fullname" -}}
{{- $name := include "retail.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What cluster-wide objects are called: releases of one name in two namespaces must not share them. */}}
{{- define "retail.clusterName" -}}
{{- printf "%s-%s" (include "retail.fullname" .) .Release.Namespace | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the operator's pods. It can never change. The pods of pipelines have another component. */}}
{{- define "retail.selector" -}}
app.kubernetes.io/name: {{ include "retail.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "retail.labels" -}}
{{ include "retail.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: retail-pipeline
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* The same with labels of the user's, which cannot replace one of them. */}}
{{- define "retail.labelsAnd" -}}
{{- merge (include "retail.labels" .root | fromYaml) (.labels | default dict) | toYaml -}}
{{- end -}}

{{- define "retail.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "retail.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The one image, for the operator's own pods and those of pipelines. */}}
{{- define "retail.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A label matcher for the namespaces that are watched; empty for all. */}}
{{- define "retail.watchedMatcher" -}}
{{- with .Values.watchNamespaces -}}namespace=~{{ join "|" . | quote }}{{- end -}}
{{- end -}}

{{/* The rules of one of the roles in files/rbac.yaml, which `retail-operator rbac` has printed. */}}
{{- define "retail.rules" -}}
{{- range .root.Files.Get "files/rbac.yaml" | splitList "\n---\n" -}}
{{- $role := fromYaml . -}}
{{- if eq $role.metadata.name $.role -}}
{{- toYaml $role.rules -}}
{{- end -}}
{{- end -}}
{{- end -}}
