{{- define "boats.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "boats.container" -}}
image: {{ .Values.image }}
imagePullPolicy: Never
{{- end }}
