{{- define "warren.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for what is put behind it: -rabbitmq-nodes, and the pods' own suffixes. */}}
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

{{/* Takes root and component, like those below. What selectors match never changes. */}}
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
Takes the pods' own labels as well. Without versions: another chart alone is no reason to restart a
pod.
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

{{/* No way out of the container, whatever runs in it. */}}
{{- define "warren.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
What the last 30 s of the grace period are for: a publish that waits (WARREN_PUBLISH_TIMEOUT, at most
15 s by the schema), and 15 s to close what is left.
*/}}
{{- define "warren.drainDelay" -}}
{{- div (sub (int .Values.terminationGracePeriodSeconds) 30) 6 -}}
{{- end -}}

{{- define "warren.drainPeriod" -}}
{{- sub (sub (int .Values.terminationGracePeriodSeconds) 30) (int (include "warren.drainDelay" .)) -}}
{{- end -}}

{{/* Values that are good one by one, and make no sense together. */}}
{{- define "warren.validate" -}}
{{- with .Values.autoscaling -}}
{{- if and .keda.enabled (not .enabled) -}}
{{- fail "autoscaling.keda.enabled: needs autoscaling.enabled" -}}
{{- end -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetConnections) -}}
{{- fail "autoscaling: needs targetCPUUtilizationPercentage or targetConnections" -}}
{{- end -}}
{{- if and .enabled .keda.enabled .targetConnections (not .keda.prometheusAddress) -}}
{{- fail "autoscaling.keda.prometheusAddress: needed for autoscaling.targetConnections" -}}
{{- end -}}
{{- if and .enabled (gt (int (default $.Values.replicas .minReplicas)) (int .maxReplicas)) -}}
{{- fail "autoscaling.maxReplicas: below minReplicas" -}}
{{- end -}}
{{- end -}}
{{- with .Values.service -}}
{{- if and .nodePort (eq .type "ClusterIP") -}}
{{- fail "service.nodePort: needs service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and .externalTrafficPolicy (eq .type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy: needs service.type NodePort or LoadBalancer" -}}
{{- end -}}
{{- if and .loadBalancerClass (ne .type "LoadBalancer") -}}
{{- fail "service.loadBalancerClass: needs service.type LoadBalancer" -}}
{{- end -}}
{{- if and .loadBalancerSourceRanges (ne .type "LoadBalancer") -}}
{{- fail "service.loadBalancerSourceRanges: needs service.type LoadBalancer" -}}
{{- end -}}
{{- end -}}
{{- /* Twice the same is a conflict for Helm 4, and Helm 3 takes the last without a word. */ -}}
{{- $taken := concat (keys (.Values.config | default dict)) (list "RABBITMQ_PASSWORD" "WARREN_LISTEN" "WARREN_ADMIN_LISTEN" "WARREN_REPLICA" "WARREN_WORKERS" "WARREN_AMQP_URL" "WARREN_DRAIN_DELAY" "WARREN_DRAIN_PERIOD") -}}
{{- range include "warren.tracing.env" . | fromYamlArray -}}
{{- $taken = append $taken .name -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $taken -}}
{{- fail (printf "extraEnv: %s is the chart's own, or in config (null takes it out there)" .name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts: needed for ingress.enabled" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: needed for httpRoute.enabled" -}}
{{- end -}}
{{- end -}}

{{/* Variables of OpenTelemetry. The resource's values are percent-encoded, as they stand in a list. */}}
{{- define "warren.tracing.env" -}}
{{- with .Values.tracing -}}
{{- if .otlpEndpoint -}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .otlpEndpoint | quote }}}
{{- if ne (toString .sampleRatio) "<nil>" }}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .sampleRatio | quote }}}
{{- end }}
{{- $said := list (printf "k8s.namespace.name=%s" $.Release.Namespace) "k8s.pod.name=$(WARREN_REPLICA)" }}
{{- range $key, $value := .resourceAttributes }}
{{- $said = append $said (printf "%s=%s" $key ($value | urlquery | replace "+" "%20")) }}
{{- end }}
- {name: OTEL_RESOURCE_ATTRIBUTES, value: {{ $said | join "," | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The port of a URL, or that of its scheme. */}}
{{- define "warren.otlpPort" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary 443 80 (eq $url.scheme "https")) -}}
{{- end -}}
