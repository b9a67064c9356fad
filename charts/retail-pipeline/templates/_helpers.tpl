{{/* The name of the chart in labels and in the names of objects. */}}
{{- define "retail.name" -}}
{{- default "retail-operator" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the objects: the release name, followed by retail-operator unless it contains that. A suffix must fit into 63
     characters, so this name has at most 52. */}}
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

{{/* The name of cluster-wide objects. It contains the namespace, because two namespaces can have releases of the same name. */}}
{{- define "retail.clusterName" -}}
{{- printf "%s-%s" (include "retail.fullname" .) .Release.Namespace | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The selector of the operator pods, which is immutable. The pods of pipelines have another component label. */}}
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

{{/* The labels of the chart and additional labels of the user. The labels of the chart take precedence. */}}
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

{{/* The image of the operator pods and of the pods of pipelines. */}}
{{- define "retail.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A PromQL label matcher for the watched namespaces; empty for all namespaces. */}}
{{- define "retail.watchedMatcher" -}}
{{- with .Values.watchNamespaces -}}namespace=~{{ join "|" . | quote }}{{- end -}}
{{- end -}}

{{/* The rules of a role in files/rbac.yaml, the output of `retail-operator rbac`. */}}
{{- define "retail.rules" -}}
{{- range .root.Files.Get "files/rbac.yaml" | splitList "\n---\n" -}}
{{- $role := fromYaml . -}}
{{- if eq $role.metadata.name $.role -}}
{{- toYaml $role.rules -}}
{{- end -}}
{{- end -}}
{{- end -}}
