{{- define "foreshock.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "foreshock.selector" -}}
app.kubernetes.io/name: foreshock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "foreshock.labels" -}}
{{ include "foreshock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "foreshock.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}

{{- define "foreshock.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "foreshock.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "foreshock.kafkaCluster" -}}
{{ include "foreshock.name" . }}-kafka
{{- end -}}

{{- define "foreshock.bootstrap" -}}
{{- if .Values.kafka.enabled -}}
{{ include "foreshock.kafkaCluster" . }}-kafka-bootstrap:9093
{{- else -}}
{{ required "kafka.bootstrapServers: name the brokers, or set kafka.enabled" .Values.kafka.bootstrapServers }}
{{- end -}}
{{- end -}}

{{- define "foreshock.caSecret" -}}
{{- if .Values.kafka.enabled -}}
{{ include "foreshock.kafkaCluster" . }}-cluster-ca-cert
{{- else -}}
{{ required "kafka.caSecret: name the secret with the brokers' ca.crt" .Values.kafka.caSecret }}
{{- end -}}
{{- end -}}

{{/* Variables of one process; called with dict "root" $ "user" NAME. Whole numbers are written without exponents. */}}
{{- define "foreshock.environment" -}}
{{- $root := .root -}}
- {name: FORESHOCK_BOOTSTRAP_SERVERS, value: {{ include "foreshock.bootstrap" $root | quote }}}
- {name: FORESHOCK_KAFKA_SECURITY, value: SASL_SSL}
- {name: FORESHOCK_KAFKA_MECHANISM, value: SCRAM-SHA-512}
- {name: FORESHOCK_KAFKA_USER, value: {{ printf "%s-%s" (include "foreshock.name" $root) .user | quote }}}
- {name: FORESHOCK_KAFKA_PASSWORD_FILE, value: /run/secrets/kafka/password}
- {name: FORESHOCK_KAFKA_CA, value: /run/secrets/kafka-ca/ca.crt}
- {name: FORESHOCK_TRITON_URL, value: "{{ include "foreshock.name" $root }}-triton:8001"}
- {name: FORESHOCK_METRICS_PORT, value: "9464"}
- {name: FORESHOCK_METRICS_ADDRESS, value: "0.0.0.0"}
- {name: FORESHOCK_STATE_DIR, value: /tmp/foreshock}
- {name: FORESHOCK_CACHE, value: /tmp/foreshock-cache}
- {name: HOME, value: /tmp}
{{- range $name := list "partitions" "raw_exchange_partitions" "raw_onchain_partitions" "raw_sentiment_partitions" }}
- {name: FORESHOCK_{{ upper $name }}, value: {{ index $root.Values $name | int | quote }}}
{{- end }}
{{- range $name, $value := $root.Values.settings }}
- {name: FORESHOCK_{{ upper $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}

{{- define "foreshock.secretMounts" -}}
- {name: kafka-user, mountPath: /run/secrets/kafka, readOnly: true}
- {name: kafka-ca, mountPath: /run/secrets/kafka-ca, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* Called with dict "root" $ "user" NAME. */}}
{{- define "foreshock.secretVolumes" -}}
- name: kafka-user
  secret: {secretName: {{ include "foreshock.name" .root }}-{{ .user }}, items: [{key: password, path: password}], defaultMode: 288}
- name: kafka-ca
  secret: {secretName: {{ include "foreshock.caSecret" .root }}, items: [{key: ca.crt, path: ca.crt}], defaultMode: 288}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- end -}}

{{/* The most workers of a stage that have a partition each; called with dict "root" $ "stage" NAME. */}}
{{- define "foreshock.mostWorkers" -}}
{{- $count := .root.Values.partitions -}}
{{- if eq .stage "ingest" -}}
{{- $count = max .root.Values.raw_exchange_partitions .root.Values.raw_onchain_partitions .root.Values.raw_sentiment_partitions -}}
{{- end -}}
{{- min 64 (int $count) -}}
{{- end -}}
