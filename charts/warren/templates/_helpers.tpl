{{- define "warren.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Truncated to leave room for suffixes: -rabbitmq-nodes, and those of pods. */}}
{{- define "warren.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Takes `root` and `component`, like the following ones. Selector labels never change. */}}
{{- define "warren.selectorLabels" -}}
app.kubernetes.io/name: {{ include "warren.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "warren.labels" -}}
{{- $labels := include "warren.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- merge $labels (.root.Values.commonLabels | default dict) | toYaml -}}
{{- end -}}

{{/*
Also takes `labels`, those of the pods. Without versions: a new version of the chart alone restarts no
pods.
*/}}
{{- define "warren.podLabels" -}}
{{- $labels := include "warren.selectorLabels" . | fromYaml -}}
{{- merge $labels (.labels | default dict) (.root.Values.commonLabels | default dict) | toYaml -}}
{{- end -}}

{{- define "warren.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "warren.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "warren.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* The most restrictive settings for a container. */}}
{{- define "warren.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
The last 30 s of the grace period are for publishes that wait (WARREN_PUBLISH_TIMEOUT, at most 15 s by the
schema), and for 15 s to close the remaining connections.
*/}}
{{- define "warren.drainDelay" -}}
{{- div (sub (int .Values.terminationGracePeriodSeconds) 30) 6 -}}
{{- end -}}

{{- define "warren.drainPeriod" -}}
{{- sub (sub (int .Values.terminationGracePeriodSeconds) 30) (int (include "warren.drainDelay" .)) -}}
{{- end -}}

{{/* Fails for values that are valid separately but not in combination. */}}
{{- define "warren.validate" -}}
{{- with .Values.autoscaling -}}
{{- if and .keda.enabled (not .enabled) -}}
{{- fail "autoscaling.keda.enabled requires autoscaling.enabled: true" -}}
{{- end -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetConnections) -}}
{{- fail "autoscaling.enabled requires autoscaling.targetCPUUtilizationPercentage or autoscaling.targetConnections: set one of them" -}}
{{- end -}}
{{- if and .enabled .keda.enabled .targetConnections (not .keda.prometheusAddress) -}}
{{- fail "autoscaling.targetConnections with KEDA requires autoscaling.keda.prometheusAddress: set it to the address of Prometheus" -}}
{{- end -}}
{{- if and .enabled (gt (int (default $.Values.replicas .minReplicas)) (int .maxReplicas)) -}}
{{- fail "autoscaling.maxReplicas is lower than autoscaling.minReplicas: raise it" -}}
{{- end -}}
{{- end -}}
{{- with .Values.service -}}
{{- if and .nodePort (eq .type "ClusterIP") -}}
{{- fail "service.nodePort requires service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and .externalTrafficPolicy (eq .type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy requires service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and .loadBalancerClass (ne .type "LoadBalancer") -}}
{{- fail "service.loadBalancerClass requires service.type LoadBalancer" -}}
{{- end -}}
{{- if and .loadBalancerSourceRanges (ne .type "LoadBalancer") -}}
{{- fail "service.loadBalancerSourceRanges requires service.type LoadBalancer" -}}
{{- end -}}
{{- end -}}
{{- /* A variable that is set twice is a conflict in Helm 4; Helm 3 silently uses the last. */ -}}
{{- $reserved := concat (keys (.Values.config | default dict)) (list "RABBITMQ_PASSWORD" "WARREN_LISTEN" "WARREN_ADMIN_LISTEN" "WARREN_REPLICA" "WARREN_WORKERS" "WARREN_AMQP_URL" "WARREN_DRAIN_DELAY" "WARREN_DRAIN_PERIOD") -}}
{{- range include "warren.tracing.env" . | fromYamlArray -}}
{{- $reserved = append $reserved .name -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $reserved -}}
{{- fail (printf "extraEnv: %s is already set by the chart or in config: remove it from extraEnv, or set it to null in config" .name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled requires ingress.hosts: set at least one host name" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled requires httpRoute.parentRefs: name at least one gateway" -}}
{{- end -}}
{{- end -}}

{{/* OpenTelemetry's variables. OTEL_RESOURCE_ATTRIBUTES is a list, so its values are percent-encoded. */}}
{{- define "warren.tracing.env" -}}
{{- with .Values.tracing -}}
{{- if .otlpEndpoint -}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .otlpEndpoint | quote }}}
{{- if ne (toString .sampleRatio) "<nil>" }}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .sampleRatio | quote }}}
{{- end }}
{{- $attributes := list (printf "k8s.namespace.name=%s" $.Release.Namespace) "k8s.pod.name=$(WARREN_REPLICA)" }}
{{- range $key, $value := .resourceAttributes }}
{{- $attributes = append $attributes (printf "%s=%s" $key ($value | urlquery | replace "+" "%20")) }}
{{- end }}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: {{ $attributes | join "," | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The port of a URL, or the default port of its scheme. */}}
{{- define "warren.otlpPort" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary 443 80 (eq $url.scheme "https")) -}}
{{- end -}}
