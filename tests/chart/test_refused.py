"""Both Helm versions refuse invalid values, with a message that names the value and the reason."""
import functools
import json

import pytest

from chart import CHART, HELMS, render, template
from documents import OWNED

AUTOSCALING = {"enabled": True}

# Values, and words that the message must contain. The two Helm versions word the rest differently.
REFUSED = {
    "invalid name": ({"nameOverride": "Warren_1"}, ["nameOverride"]),
    "label that is not a string": ({"commonLabels": {"a": 1}}, ["commonLabels", "a"]),
    "empty image repository": ({"image": {"repository": ""}}, ["image", "repository"]),
    "digest without algorithm": ({"image": {"digest": "0123"}}, ["image", "digest"]),
    "unknown pull policy": ({"image": {"pullPolicy": "Sometimes"}}, ["image", "pullPolicy"]),
    "pull secret without a name": ({"imagePullSecrets": ["registry"]}, ["imagePullSecrets"]),
    "zero replicas": ({"replicas": 0}, ["replicas", "1"]),
    "replicas as text": ({"replicas": "two"}, ["replicas", "integer"]),
    "grace period too short": ({"terminationGracePeriodSeconds": 59},
                                 ["terminationGracePeriodSeconds", "60"]),
    "grace period with a unit": ({"terminationGracePeriodSeconds": "90s"},
                                   ["terminationGracePeriodSeconds", "integer"]),
    "duration without a unit": ({"config": {"WARREN_PING_INTERVAL": "25"}}, ["WARREN_PING_INTERVAL"]),
    "duration as a number": ({"config": {"WARREN_PING_INTERVAL": 25}}, ["WARREN_PING_INTERVAL"]),
    "duration in days": ({"config": {"WARREN_LOG_MAX_AGE": "2d"}}, ["WARREN_LOG_MAX_AGE"]),
    "size in an unknown unit": ({"config": {"WARREN_HISTORY_BYTES": "64MB"}}, ["WARREN_HISTORY_BYTES"]),
    "size without a unit": ({"config": {"WARREN_MAX_MESSAGE": "65536"}}, ["WARREN_MAX_MESSAGE"]),
    "rate without a period": ({"config": {"WARREN_CLIENT_RATE": "50"}}, ["WARREN_CLIENT_RATE"]),
    "unknown delivery mode": ({"config": {"WARREN_DELIVERY": "queue"}}, ["WARREN_DELIVERY"]),
    "unknown log format": ({"config": {"WARREN_LOG_FORMAT": "xml"}}, ["WARREN_LOG_FORMAT"]),
    "reserved exchange name": ({"config": {"WARREN_EXCHANGE": "amq.fanout"}}, ["WARREN_EXCHANGE"]),
    "publish timeout longer than the drain allows": ({"config": {"WARREN_PUBLISH_TIMEOUT": "16s"}},
                                           ["WARREN_PUBLISH_TIMEOUT"]),
    "publish timeout in minutes": ({"config": {"WARREN_PUBLISH_TIMEOUT": "1m"}},
                                     ["WARREN_PUBLISH_TIMEOUT"]),
    "unknown variable": ({"config": {"WARREN_SPEED": "fast"}}, ["config", "WARREN_SPEED"]),
    "variable of another program": ({"config": {"OTEL_SERVICE_NAME": "chat"}},
                                      ["config", "OTEL_SERVICE_NAME"]),
    "autoscaling without a target": (
        {"autoscaling": {**AUTOSCALING, "targetCPUUtilizationPercentage": None}},
        ["autoscaling.enabled requires autoscaling.targetCPUUtilizationPercentage or "
         "autoscaling.targetConnections"]),
    "maximum below minimum": (
        {"autoscaling": {**AUTOSCALING, "maxReplicas": 1}},
        ["autoscaling.maxReplicas is lower than autoscaling.minReplicas"]),
    "minimum of zero": ({"autoscaling": {**AUTOSCALING, "minReplicas": 0}}, ["minReplicas"]),
    "disabled scaling direction": ({"autoscaling": {"behavior": {"scaleDown": {"selectPolicy": "Never"}}}},
                    ["scaleDown", "selectPolicy"]),
    "scaling policy without a period": (
        {"autoscaling": {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1}]}}}},
        ["scaleUp", "policies", "periodSeconds"]),
    "KEDA without autoscaling": ({"autoscaling": {"keda": {"enabled": True}}},
                   ["autoscaling.keda.enabled requires autoscaling.enabled"]),
    "KEDA without Prometheus": (
        {"autoscaling": {**AUTOSCALING, "targetConnections": 100, "keda": {"enabled": True}}},
        ["autoscaling.targetConnections with KEDA requires autoscaling.keda.prometheusAddress"]),
    "Prometheus address without a scheme": (
        {"autoscaling": {"keda": {"prometheusAddress": "prometheus:9090"}}}, ["prometheusAddress"]),
    "disruption budget of zero": ({"podDisruptionBudget": {"maxUnavailable": 0}}, ["maxUnavailable"]),
    "disruption budget of zero percent": ({"podDisruptionBudget": {"maxUnavailable": "0%"}},
                                      ["maxUnavailable"]),
    "node port with ClusterIP": ({"service": {"nodePort": 30080}},
                                     ["service.nodePort requires service.type"]),
    "traffic policy with ClusterIP": (
        {"service": {"externalTrafficPolicy": "Local"}},
        ["service.externalTrafficPolicy requires service.type"]),
    "load balancer class with NodePort": (
        {"service": {"type": "NodePort", "loadBalancerClass": "example.org/x"}},
        ["service.loadBalancerClass requires service.type LoadBalancer"]),
    "source ranges with ClusterIP": (
        {"service": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}},
        ["service.loadBalancerSourceRanges requires service.type LoadBalancer"]),
    "unknown Service type": ({"service": {"type": "ExternalName"}}, ["service", "type"]),
    "invalid port": ({"service": {"port": 65536}}, ["service", "port"]),
    "unknown traffic policy": ({"service": {"externalTrafficPolicy": "Near"}}, ["externalTrafficPolicy"]),
    "Ingress without a host": ({"ingress": {"enabled": True}},
                               ["ingress.enabled requires ingress.hosts"]),
    "hosts as objects": ({"ingress": {"enabled": True, "hosts": [{"host": "example.org"}]}},
                                 ["ingress", "hosts"]),
    "HTTPRoute without a gateway": ({"httpRoute": {"enabled": True}},
                                   ["httpRoute.enabled requires httpRoute.parentRefs"]),
    "sample ratio above 1": ({"tracing": {"sampleRatio": 1.5}}, ["sampleRatio", "1"]),
    "sample ratio in percent": ({"tracing": {"sampleRatio": "1%"}}, ["sampleRatio"]),
    "collector URL with a password": ({"tracing": {"otlpEndpoint": "http://user:secret@collector:4318"}},
                                    ["otlpEndpoint"]),
    "collector URL with an invalid port": ({"tracing": {"otlpEndpoint": "http://collector:65536"}},
                                             ["otlpEndpoint"]),
    "collector URL without a host": ({"tracing": {"otlpEndpoint": "http://:4318"}}, ["otlpEndpoint"]),
    "resource attribute that is not a string": ({"tracing": {"resourceAttributes": {"shard": 1}}},
                                       ["resourceAttributes", "shard"]),
    "sampler set twice": (
        {"tracing": {"otlpEndpoint": "http://collector:4318"},
         "extraEnv": [{"name": "OTEL_TRACES_SAMPLER", "value": "always_on"}]},
        ["extraEnv", "OTEL_TRACES_SAMPLER"]),
    "collector URL without a scheme": ({"tracing": {"otlpEndpoint": "collector:4317"}}, ["otlpEndpoint"]),
    "invalid scrape interval": ({"monitoring": {"serviceMonitor": {"interval": "often"}}},
                    ["serviceMonitor", "interval"]),
    "annotation that is not a string": ({"podAnnotations": {"a": True}}, ["podAnnotations"]),
    "variables as a map": ({"extraEnv": {"A": "b"}}, ["extraEnv"]),
    "variable set twice": ({"extraEnv": [{"name": "WARREN_MAX_CONNECTIONS", "value": "7"}]},
                         ["extraEnv: WARREN_MAX_CONNECTIONS"]),
    "variable set by the chart": ({"extraEnv": [{"name": "WARREN_LISTEN", "value": "[::]:80"}]},
                                ["extraEnv: WARREN_LISTEN"]),
    "unknown RabbitMQ mode": ({"rabbitmq": {"mode": "managed"}}, ["rabbitmq", "mode"]),
    "zero RabbitMQ nodes": ({"rabbitmq": {"bundled": {"replicas": 0}}}, ["bundled", "replicas"]),
    "even number of RabbitMQ nodes": ({"rabbitmq": {"bundled": {"replicas": 2}}}, ["bundled", "replicas"]),
    "invalid volume size": ({"rabbitmq": {"bundled": {"persistence": {"size": "large"}}}},
                                ["persistence", "size"]),
    "external RabbitMQ without an address": ({"rabbitmq": {"mode": "external"}},
                                                ["rabbitmq.external.existingSecret"]),
    "two CA bundles": (
        {"rabbitmq": {"mode": "external", "external": {
            "existingSecret": "url", "caSecret": "ca", "caConfigMap": "ca"}}},
        ["rabbitmq.external.caSecret", "rabbitmq.external.caConfigMap"]),
    **{f"{name} in config": ({"config": {name: "1"}}, ["config", name]) for name in OWNED},
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_values_are_refused(case, helm):
    values, words = REFUSED[case]
    done = template(values, helm)
    assert done.returncode != 0
    assert all(word in done.stderr for word in words), done.stderr


def schema():
    return json.loads((CHART / "values.schema.json").read_text())


def levels(part, path=()):
    """Paths of all objects of the schema with fixed keys."""
    part = schema()["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    if "properties" in part:
        yield path
        for key, each in part["properties"].items():
            yield from levels(each, (*path, key))


LEVELS = [".".join(path) for path in levels(schema())]


@functools.cache
def with_unknown_keys():
    """Error messages, per Helm version, for values with an unknown key at every level."""
    values = {}
    for path in LEVELS:
        inner = values
        for key in filter(None, path.split(".")):
            inner = inner.setdefault(key, {})
        inner["unknownKey"] = 1
    return [template(values, helm).stderr.splitlines() for helm in HELMS]


@pytest.mark.parametrize("path", LEVELS)
def test_unknown_keys_are_refused(path):
    ways = f"- {path or '(root)'}: ", f"- at '{''.join(f'/{key}' for key in path.split('.') if key)}': "
    for lines, way in zip(with_unknown_keys(), ways):
        assert any("unknownKey" in line and way in line for line in lines), lines


# Required values. Null removes the default in Helm, and some templates would still render: a drain of -5 s,
# a budget that allows no evictions, egress to any address.
NEEDED = ["image", "image.repository", "replicas", "listenAddress", "terminationGracePeriodSeconds",
          "podDisruptionBudget.maxUnavailable", "service.port",
          "networkPolicy.monitoringNamespaceSelector", "rabbitmq.bundled.replicas",
          "rabbitmq.bundled.auth.username", "rabbitmq.bundled.persistence.size",
          "rabbitmq.external.key", "rabbitmq.external.ports"]


def nested(path, value):
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


@pytest.mark.parametrize("path", NEEDED)
def test_null_is_refused_for_required_values(path, helm):
    done = template(nested(path, None), helm)
    assert done.returncode != 0
    assert path.rpartition(".")[2] in done.stderr and "schema" in done.stderr, done.stderr


# In YAML, a key with only comments below it is null.
EMPTY = ["commonLabels", "podLabels", "podAnnotations", "extraEnv", "extraVolumes", "extraVolumeMounts",
         "nodeSelector", "tolerations", "affinity", "networkPolicy.clientsFrom",
         "rabbitmq.bundled.podLabels", "rabbitmq.bundled.config"]


@pytest.mark.parametrize("path", EMPTY)
def test_null_equals_the_default_for_optional_values(path):
    assert render(nested(path, None)).names() == render().names()
    assert render(nested(path, None)).one("Deployment") == render().one("Deployment")
