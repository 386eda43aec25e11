{{/*
The interface to the rest of the chart is `env`, `volumes`, `volumeMounts`, `checksum` and `egress`, for
all three modes. All take the root context.
*/}}

{{/* Truncated so that the longest derived names, those of the pods' revisions, fit 63 characters. */}}
{{- define "warren.rabbitmq.fullname" -}}
{{ include "warren.fullname" . | trunc 43 | trimSuffix "-" }}-rabbitmq
{{- end }}

{{/* The headless Service that gives each node its name. */}}
{{- define "warren.rabbitmq.nodes" -}}
{{ include "warren.rabbitmq.fullname" . }}-nodes
{{- end }}

{{/* The Secret with the password and the Erlang cookie of `bundled`. */}}
{{- define "warren.rabbitmq.secret" -}}
{{ .Values.rabbitmq.bundled.auth.existingSecret | default (include "warren.rabbitmq.fullname" .) }}
{{- end }}

{{- define "warren.rabbitmq.env" -}}
{{- $rabbitmq := .Values.rabbitmq -}}
{{- if eq $rabbitmq.mode "bundled" -}}
- name: RABBITMQ_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "warren.rabbitmq.secret" . }}
      key: password
- name: WARREN_AMQP_URL
  value: {{ include "warren.rabbitmq.urls" . }}
{{- else if eq $rabbitmq.mode "operator" -}}
- name: WARREN_AMQP_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "warren.rabbitmq.fullname" . }}-default-user
      key: connection_string
{{- else -}}
- name: WARREN_AMQP_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "rabbitmq.mode external requires rabbitmq.external.existingSecret: name the Secret with RabbitMQ's address" $rabbitmq.external.existingSecret | quote }}
      key: {{ $rabbitmq.external.key | quote }}
{{- if include "warren.rabbitmq.ca" . }}
- name: SSL_CERT_FILE
  value: /etc/warren/rabbitmq-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/*
The URLs of all nodes of `bundled`. When a node stops, replicas try the next one at once, without waiting
for a Service to notice.
*/}}
{{- define "warren.rabbitmq.urls" -}}
{{- $name := include "warren.rabbitmq.fullname" . -}}
{{- $domain := printf "%s.%s" (include "warren.rabbitmq.nodes" .) .Release.Namespace -}}
{{- $urls := list -}}
{{- range until (int .Values.rabbitmq.bundled.replicas) -}}
{{- $urls = append $urls (printf "amqp://%s:$(RABBITMQ_PASSWORD)@%s-%d.%s:5672" $.Values.rabbitmq.bundled.auth.username $name . $domain) -}}
{{- end -}}
{{ join "," $urls }}
{{- end }}

{{/* The volume source of the CA bundle of `external`, if there is one. */}}
{{- define "warren.rabbitmq.ca" -}}
{{- with .Values.rabbitmq.external -}}
{{- if and .caSecret .caConfigMap -}}
{{- fail "rabbitmq.external.caSecret and rabbitmq.external.caConfigMap are both set: set only one of them" -}}
{{- end -}}
{{- if eq $.Values.rabbitmq.mode "external" -}}
{{- if .caSecret -}}
secret:
  secretName: {{ .caSecret | quote }}
{{- else if .caConfigMap -}}
configMap:
  name: {{ .caConfigMap | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "warren.rabbitmq.volumes" -}}
{{- with include "warren.rabbitmq.ca" . -}}
- name: rabbitmq-ca
  {{- . | nindent 2 }}
    items:
      - key: {{ $.Values.rabbitmq.external.caKey }}
        path: ca.crt
{{- end }}
{{- end }}

{{- define "warren.rabbitmq.volumeMounts" -}}
{{- if include "warren.rabbitmq.ca" . -}}
- name: rabbitmq-ca
  mountPath: /etc/warren/rabbitmq-ca
  readOnly: true
{{- end }}
{{- end }}

{{/*
A checksum of Secrets and ConfigMaps that do not belong to the chart. It restarts the replicas at an
upgrade if these have changed, because a replica reads them only when it starts. Empty without access to
the cluster.
*/}}
{{- define "warren.rabbitmq.checksum" -}}
{{- $foreign := list -}}
{{- $find := list -}}
{{- with .Values.rabbitmq -}}
{{- if eq .mode "bundled" -}}
{{- $find = list (list "Secret" .bundled.auth.existingSecret) -}}
{{- else if eq .mode "external" -}}
{{- with .external -}}
{{- $find = list (list "Secret" .existingSecret) (list "Secret" .caSecret) (list "ConfigMap" .caConfigMap) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $find -}}
{{- if last . -}}
{{- with (lookup "v1" (first .) $.Release.Namespace (last .)).data -}}
{{- $foreign = append $foreign . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $foreign -}}
{{ toJson . | sha256sum }}
{{- end -}}
{{- end }}

{{- define "warren.rabbitmq.egress" -}}
{{- $rabbitmq := .Values.rabbitmq -}}
{{- if eq $rabbitmq.mode "external" -}}
- ports:
    {{- range $rabbitmq.external.ports }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
  {{- with $rabbitmq.external.networkPolicyPeers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- else -}}
- ports:
    - protocol: TCP
      port: 5672
  to:
    - podSelector:
        matchLabels:
          {{- include "warren.rabbitmq.podLabels" . | nindent 10 }}
{{- end }}
{{- end }}

{{/* Labels of RabbitMQ's pods for selectors. The operator sets labels of its own. */}}
{{- define "warren.rabbitmq.podLabels" -}}
{{- if eq .Values.rabbitmq.mode "operator" -}}
app.kubernetes.io/component: rabbitmq
app.kubernetes.io/name: {{ include "warren.rabbitmq.fullname" . }}
{{- else -}}
{{ include "warren.selectorLabels" (dict "root" . "component" "rabbitmq") }}
{{- end }}
{{- end }}

{{/* Lines of rabbitmq.conf for `bundled` and `operator`. */}}
{{- define "warren.rabbitmq.conf" -}}
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
anonymous_login_user = none
# Half of the container's memory. The rest is for bursts, the command line tools and the page cache.
vm_memory_high_watermark.relative = 0.5
# Publishers are blocked below this limit, before a full volume stops the node.
disk_free_limit.absolute = 1GB
# Ports for stream replication between nodes. The network policy allows them.
stream.replication.port_range.min = 6000
stream.replication.port_range.max = 6500
{{- end }}

{{/* The files of `bundled`. Only changes of these restart the nodes. */}}
{{- define "warren.rabbitmq.files" -}}
enabled_plugins: |
  [rabbitmq_management,rabbitmq_peer_discovery_k8s,rabbitmq_prometheus].
rabbitmq.conf: |
  cluster_name = {{ include "warren.rabbitmq.fullname" . }}
  # The pod with ordinal 0 founds the cluster and the others join it, without the Kubernetes API.
  cluster_formation.peer_discovery_backend = k8s
  {{- include "warren.rabbitmq.conf" . | nindent 2 }}
  # Replaces the guest user. The first start creates this user; later starts do not change users.
  default_user = {{ .Values.rabbitmq.bundled.auth.username }}
  default_pass = $(RABBITMQ_PASSWORD)
  # RabbitMQ does not detect the container's limit.
  total_memory_available_override_value = $(MEMORY_LIMIT)
  log.console = true
  log.console.use_colors = off
  log.file = false
  {{- with .Values.rabbitmq.bundled.config }}
  # rabbitmq.bundled.config
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Nodes know each other by this name, which is independent of pods and addresses. */}}
{{- define "warren.rabbitmq.nodename" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.name
- name: RABBITMQ_NODENAME
  value: rabbit@$(POD_NAME).{{ include "warren.rabbitmq.nodes" . }}.{{ .Release.Namespace }}
- name: RABBITMQ_USE_LONGNAME
  value: "true"
{{- if hasPrefix "[" .Values.listenAddress }}
# By default, Erlang nodes and command line tools use IPv4.
- name: RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS
  value: -proto_dist inet6_tcp
- name: RABBITMQ_CTL_ERL_ARGS
  value: -proto_dist inet6_tcp
{{- end }}
{{- end }}

{{/*
The script of the init container. Erlang requires that its cookie file is readable by the owner only, which
a mounted Secret is not. A node must be able to resolve its own name, which may be new to DNS.

A node whose volume is empty joins a running node. Otherwise ordinal 0 would found a second cluster after it
has lost its volume, and there would be two logs. The other nodes forget the previous node of this name:
otherwise they would still count it towards the majority that streams need, although it does not vote.
*/}}
{{- define "warren.rabbitmq.prepare" -}}
cd /var/lib/rabbitmq
install -m 600 /run/secrets/rabbitmq/erlang-cookie .erlang.cookie
until getent hosts "${RABBITMQ_NODENAME#*@}"; do sleep 1; done
mkdir -p conf.d
rm -f conf.d/seed.conf
[ ! -e "mnesia/$RABBITMQ_NODENAME" ] || exit 0
for ordinal in {0..8}; do
  peer=rabbit@${POD_NAME%-*}-$ordinal.${RABBITMQ_NODENAME#*.}
  [ "$peer" != "$RABBITMQ_NODENAME" ] && getent hosts "${peer#*@}" >/dev/null || continue
  rabbitmq-diagnostics --node "$peer" --timeout 10 check_running &>/dev/null || continue
  echo "The volume is empty and $peer is running: joining its cluster."
  timeout 60 rabbitmqctl --node "$peer" forget_cluster_node "$RABBITMQ_NODENAME" || true
  echo "cluster_formation.k8s.seed_node = $peer" >conf.d/seed.conf
  break
done
{{- end }}

{{/*
The startup probe. A stream that is declared before the other nodes are members would keep a single copy, so
each node copies every stream before it counts as started. If a stream cannot be copied for ten minutes,
because its only copy is unavailable, the node starts without it.
*/}}
{{- define "warren.rabbitmq.startupProbe" -}}
exec:
  command:
    - bash
    - -c
    - |
      exec 3<>/dev/tcp/localhost/5672 || exit 1
      problem=$(rabbitmq-streams grow "$RABBITMQ_NODENAME" all --errors-only --silent 2>&1) \
        && [ -z "$problem" ] && exit 0
      echo "streams without a copy on this node: $problem"
      # The cookie file is as old as the pod.
      [ -n "$(find /var/lib/rabbitmq/.erlang.cookie -mmin +10)" ]
timeoutSeconds: 60
periodSeconds: 10
# Half an hour: a node waits for the others, which may be restored one by one.
failureThreshold: 180
{{- end }}

{{/*
The preStop hook. It waits until the other nodes can do without this one, for a limited time: otherwise the
drain of a machine would never end while a node is missing. Then it transfers leadership to the others.
*/}}
{{- define "warren.rabbitmq.preStop" -}}
exec:
  command:
    - bash
    - -c
    - |
      timeout 75 rabbitmq-upgrade await_online_quorum_plus_one -t 60
      timeout 45 rabbitmq-upgrade drain -t 30
      true
{{- end }}

{{/* Ports between nodes: discovery (epmd), clustering and stream replication. */}}
{{- define "warren.rabbitmq.clusterPorts" -}}
- port: 4369
  protocol: TCP
- port: 25672
  protocol: TCP
- port: 6000
  endPort: 6500
  protocol: TCP
{{- end }}

{{- define "warren.rabbitmq.image" -}}
{{- with .Values.rabbitmq.bundled.image -}}
{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- define "warren.rabbitmq.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
{{- end }}
