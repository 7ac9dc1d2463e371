{{- define "fleet.spec" -}}
selector:
  matchLabels: {app: {{ .name }}}
template:
  metadata:
    labels: {app: {{ .name }}, fleet: {{ .root.Release.Name }}}
  spec:
    terminationGracePeriodSeconds: 1
    containers:
    - name: main
      image: {{ .root.Values.image }}
      imagePullPolicy: Never
      command: [sh, -c, 'trap "exit 0" TERM; sleep 100000 & wait']
      env: [{name: TAG, value: {{ .root.Values.tag }}}]
      readinessProbe:
        exec: {command: ["{{ .root.Values.ready }}"]}
        periodSeconds: 1
{{- end }}

{{- define "fleet.job" -}}
template:
  spec:
    restartPolicy: Never
    containers:
    - name: main
      image: {{ .Values.image }}
      imagePullPolicy: Never
      command: [sh, -c, "sleep 1"]
{{- end }}
