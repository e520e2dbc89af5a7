{{/* Names */}}

{{- define "harborhook.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "harborhook.fullname" -}}
{{- $name := include "harborhook.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "harborhook.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "harborhook.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "harborhook.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Labels */}}

{{- define "harborhook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "harborhook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "harborhook.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "harborhook.selectorLabels" . }}
app.kubernetes.io/part-of: harborhook
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "harborhook.testLabels" -}}
app.kubernetes.io/name: {{ include "harborhook.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Whether this release can contain objects of our kinds. */}}
{{- define "harborhook.connectionServed" -}}
{{- or .Values.connection.alwaysRender (not .Values.crds.install) (.Capabilities.APIVersions.Has "harborhook.io/v1alpha1/ClusterHarborConnection") -}}
{{- end -}}

{{/* The operator's settings as variables. Unset values keep the operator's own defaults. */}}
{{- define "harborhook.environment" -}}
- name: HARBORHOOK_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- $variables := dict -}}
{{- range $name, $value := .Values.settings -}}
{{- if kindIs "slice" $value -}}
{{- $_ := set $variables ($name | snakecase | upper) (join "," $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $variables ($name | snakecase | upper) (toString $value) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $variables "WATCH_NAMESPACES" (join "," .Values.watchNamespaces) -}}
{{- if not .Values.watchSecrets -}}
{{- $_ := set $variables "WATCH_SECRETS" "false" -}}
{{- end -}}
{{- with .Values.leaderElection -}}
{{- $_ := set $variables "LEADER_ELECTION" (ternary "true" "" .enabled) -}}
{{- $_ := set $variables "LEASE_NAME" .leaseName -}}
{{- range $name := list "leaseDuration" "renewDeadline" "retryPeriod" -}}
{{- with index $.Values.leaderElection $name -}}
{{- $_ := set $variables ($name | snakecase | upper) (toString .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.shard -}}
{{- $_ := set $variables "SHARD" .name -}}
{{- $_ := set $variables "RESOURCE_SELECTOR" .resourceSelector -}}
{{- $_ := set $variables "MANAGE_CONNECTIONS" (ternary "" "false" .manageConnections) -}}
{{- end -}}
{{- if ne .Values.globalSwitch.name "harborhook-global" -}}
{{- $_ := set $variables "GLOBAL_CONFIG_MAP" .Values.globalSwitch.name -}}
{{- end -}}
{{- if ne (int .Values.port) 8080 -}}
{{- $_ := set $variables "LISTEN_PORT" (toString .Values.port) -}}
{{- end -}}
{{- range $name, $value := $variables }}
{{- if $value }}
- name: HARBORHOOK_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Rights */}}

{{- define "harborhook.subject" -}}
kind: ServiceAccount
name: {{ include "harborhook.serviceAccountName" . }}
namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Rights for resources in a namespace: our kinds, the objects that they refer to, and Events about them. */}}
{{- define "harborhook.rules.resources" -}}
- # Finalizers and annotations are patched; the operator never writes to a spec.
  apiGroups: [harborhook.io]
  resources: [harborconnections, harborprojects, webhookpolicies]
  verbs: [get, list, watch, patch]
- apiGroups: [harborhook.io]
  resources:
  - harborconnections/status
  - harborprojects/status
  - webhookpolicies/status
  verbs: [patch]
{{ include "harborhook.rules.sources" . }}
{{- end -}}

{{/* Rights for the objects that resources refer to, and for Events. */}}
{{- define "harborhook.rules.sources" -}}
- # Credentials for Harbor, headers for webhook targets, certificate authorities.
  apiGroups: [""]
  resources: [secrets]
  verbs: {{ ternary "[get, list, watch]" "[get]" .Values.watchSecrets }}
- # Certificate authorities, the switch over all notifications.
  apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* Rights for cluster-scoped objects. */}}
{{- define "harborhook.rules.cluster" -}}
- apiGroups: [harborhook.io]
  resources: [clusterharborconnections]
  verbs: [get, list, watch, patch]
- apiGroups: [harborhook.io]
  resources:
  - clusterharborconnections/status
  verbs: [patch]
{{- if and .Values.watchNamespaces .Values.shard.name }}
- # To know the claims of other operators in this cluster.
  apiGroups: [harborhook.io]
  resources: [harborprojects, webhookpolicies]
  verbs: [list]
{{- end }}
{{- if not .Values.settings.clusterName }}
- # Its UID distinguishes this cluster from others that use the same Harbor.
  apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end }}
{{- end -}}

{{/*
Rights in the operator's own namespace when it is not served: for the switch and for what cluster-wide connections name.
To be told of changes there, the operator watches whatever it watches elsewhere; our kinds it does not touch.
*/}}
{{- define "harborhook.rules.own" -}}
- apiGroups: [harborhook.io]
  resources: [harborconnections, harborprojects, webhookpolicies]
  verbs: [list, watch]
{{ include "harborhook.rules.sources" . }}
{{- end -}}

{{/* A Role of a namespace and its binding to the operator. */}}
{{- define "harborhook.role" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "harborhook.labels" .root | nindent 4 }}
rules:
{{ .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "harborhook.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
- {{ include "harborhook.subject" .root | nindent 2 | trim }}
{{- end }}

{{/* The ports of the API server and of the connection's Harbor, as JSON. */}}
{{- define "harborhook.egressPorts" -}}
{{- $ports := list 443 6443 }}
{{- with .Values.connection.url }}
{{- $port := regexFind ":[0-9]+$" (trimSuffix "/" .) | trimPrefix ":" }}
{{- $ports = append $ports (int (default (ternary 80 443 (hasPrefix "http://" .)) $port)) }}
{{- end }}
{{- uniq $ports | toJson }}
{{- end -}}
