"""Values that make no sense are refused, by both Helms, in words that say where and why."""
import functools
import json

import pytest

from chart import CHART, HELMS, render, template
from documents import OWNED

AUTOSCALING = {"enabled": True}

# What is set, and what the message has to say; the two Helms word the rest in their own ways.
REFUSED = {
    "a bad name": ({"nameOverride": "Warren_1"}, ["nameOverride"]),
    "a label that is no string": ({"commonLabels": {"a": 1}}, ["commonLabels", "a"]),
    "no image": ({"image": {"repository": ""}}, ["image", "repository"]),
    "a digest without its kind": ({"image": {"digest": "0123"}}, ["image", "digest"]),
    "a pull policy": ({"image": {"pullPolicy": "Sometimes"}}, ["image", "pullPolicy"]),
    "a pull secret without a name": ({"imagePullSecrets": ["registry"]}, ["imagePullSecrets"]),
    "no replicas": ({"replicas": 0}, ["replicas", "1"]),
    "replicas in words": ({"replicas": "two"}, ["replicas", "integer"]),
    "a grace period too short": ({"terminationGracePeriodSeconds": 59},
                                 ["terminationGracePeriodSeconds", "60"]),
    "a grace period with a unit": ({"terminationGracePeriodSeconds": "90s"},
                                   ["terminationGracePeriodSeconds", "integer"]),
    "a duration without a unit": ({"config": {"WARREN_PING_INTERVAL": "25"}}, ["WARREN_PING_INTERVAL"]),
    "a duration that is a number": ({"config": {"WARREN_PING_INTERVAL": 25}}, ["WARREN_PING_INTERVAL"]),
    "a duration in days": ({"config": {"WARREN_LOG_MAX_AGE": "2d"}}, ["WARREN_LOG_MAX_AGE"]),
    "a size in other units": ({"config": {"WARREN_HISTORY_BYTES": "64MB"}}, ["WARREN_HISTORY_BYTES"]),
    "a size without a unit": ({"config": {"WARREN_MAX_MESSAGE": "65536"}}, ["WARREN_MAX_MESSAGE"]),
    "a rate without a time": ({"config": {"WARREN_CLIENT_RATE": "50"}}, ["WARREN_CLIENT_RATE"]),
    "a way to deliver": ({"config": {"WARREN_DELIVERY": "queue"}}, ["WARREN_DELIVERY"]),
    "a format": ({"config": {"WARREN_LOG_FORMAT": "xml"}}, ["WARREN_LOG_FORMAT"]),
    "an exchange of RabbitMQ's": ({"config": {"WARREN_EXCHANGE": "amq.fanout"}}, ["WARREN_EXCHANGE"]),
    "a publish timeout beyond the drain": ({"config": {"WARREN_PUBLISH_TIMEOUT": "16s"}},
                                           ["WARREN_PUBLISH_TIMEOUT"]),
    "a publish timeout in minutes": ({"config": {"WARREN_PUBLISH_TIMEOUT": "1m"}},
                                     ["WARREN_PUBLISH_TIMEOUT"]),
    "an unknown variable": ({"config": {"WARREN_SPEED": "fast"}}, ["config", "WARREN_SPEED"]),
    "a variable of another program": ({"config": {"OTEL_SERVICE_NAME": "chat"}},
                                      ["config", "OTEL_SERVICE_NAME"]),
    "autoscaling for no reason": (
        {"autoscaling": {**AUTOSCALING, "targetCPUUtilizationPercentage": None}},
        ["autoscaling.enabled requires autoscaling.targetCPUUtilizationPercentage or "
         "autoscaling.targetConnections"]),
    "autoscaling to fewer than the least": (
        {"autoscaling": {**AUTOSCALING, "maxReplicas": 1}},
        ["autoscaling.maxReplicas is lower than autoscaling.minReplicas"]),
    "autoscaling from none": ({"autoscaling": {**AUTOSCALING, "minReplicas": 0}}, ["minReplicas"]),
    "a direction": ({"autoscaling": {"behavior": {"scaleDown": {"selectPolicy": "Never"}}}},
                    ["scaleDown", "selectPolicy"]),
    "a policy without a period": (
        {"autoscaling": {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1}]}}}},
        ["scaleUp", "policies", "periodSeconds"]),
    "KEDA alone": ({"autoscaling": {"keda": {"enabled": True}}},
                   ["autoscaling.keda.enabled requires autoscaling.enabled"]),
    "KEDA without a Prometheus": (
        {"autoscaling": {**AUTOSCALING, "targetConnections": 100, "keda": {"enabled": True}}},
        ["autoscaling.targetConnections with KEDA requires autoscaling.keda.prometheusAddress"]),
    "a Prometheus without a scheme": (
        {"autoscaling": {"keda": {"prometheusAddress": "prometheus:9090"}}}, ["prometheusAddress"]),
    "a budget of nobody": ({"podDisruptionBudget": {"maxUnavailable": 0}}, ["maxUnavailable"]),
    "a budget of nobody in percent": ({"podDisruptionBudget": {"maxUnavailable": "0%"}},
                                      ["maxUnavailable"]),
    "a port of nodes that is none": ({"service": {"nodePort": 30080}},
                                     ["service.nodePort requires service.type"]),
    "a policy of traffic for a ClusterIP": (
        {"service": {"externalTrafficPolicy": "Local"}},
        ["service.externalTrafficPolicy requires service.type"]),
    "a class of no load balancer": (
        {"service": {"type": "NodePort", "loadBalancerClass": "example.org/x"}},
        ["service.loadBalancerClass requires service.type LoadBalancer"]),
    "addresses for no load balancer": (
        {"service": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}},
        ["service.loadBalancerSourceRanges requires service.type LoadBalancer"]),
    "a type of Service": ({"service": {"type": "ExternalName"}}, ["service", "type"]),
    "a port": ({"service": {"port": 65536}}, ["service", "port"]),
    "a policy of traffic": ({"service": {"externalTrafficPolicy": "Near"}}, ["externalTrafficPolicy"]),
    "an Ingress for no host": ({"ingress": {"enabled": True}},
                               ["ingress.enabled requires ingress.hosts"]),
    "hosts as in other charts": ({"ingress": {"enabled": True, "hosts": [{"host": "example.org"}]}},
                                 ["ingress", "hosts"]),
    "an HTTPRoute of no gateway": ({"httpRoute": {"enabled": True}},
                                   ["httpRoute.enabled requires httpRoute.parentRefs"]),
    "a share above the whole": ({"tracing": {"sampleRatio": 1.5}}, ["sampleRatio", "1"]),
    "a share in percent": ({"tracing": {"sampleRatio": "1%"}}, ["sampleRatio"]),
    "a collector with a password": ({"tracing": {"otlpEndpoint": "http://user:secret@collector:4318"}},
                                    ["otlpEndpoint"]),
    "a collector's port that there is not": ({"tracing": {"otlpEndpoint": "http://collector:65536"}},
                                             ["otlpEndpoint"]),
    "a collector without a name": ({"tracing": {"otlpEndpoint": "http://:4318"}}, ["otlpEndpoint"]),
    "an attribute that is no string": ({"tracing": {"resourceAttributes": {"shard": 1}}},
                                       ["resourceAttributes", "shard"]),
    "a sampler twice": (
        {"tracing": {"otlpEndpoint": "http://collector:4318"},
         "extraEnv": [{"name": "OTEL_TRACES_SAMPLER", "value": "always_on"}]},
        ["extraEnv", "OTEL_TRACES_SAMPLER"]),
    "a collector without a scheme": ({"tracing": {"otlpEndpoint": "collector:4317"}}, ["otlpEndpoint"]),
    "an interval": ({"monitoring": {"serviceMonitor": {"interval": "often"}}},
                    ["serviceMonitor", "interval"]),
    "annotations that are no strings": ({"podAnnotations": {"a": True}}, ["podAnnotations"]),
    "variables as a map": ({"extraEnv": {"A": "b"}}, ["extraEnv"]),
    "a variable twice": ({"extraEnv": [{"name": "WARREN_MAX_CONNECTIONS", "value": "7"}]},
                         ["extraEnv: WARREN_MAX_CONNECTIONS"]),
    "a variable of the chart": ({"extraEnv": [{"name": "WARREN_LISTEN", "value": "[::]:80"}]},
                                ["extraEnv: WARREN_LISTEN"]),
    "an unknown RabbitMQ": ({"rabbitmq": {"mode": "managed"}}, ["rabbitmq", "mode"]),
    "no nodes": ({"rabbitmq": {"bundled": {"replicas": 0}}}, ["bundled", "replicas"]),
    "an even number of nodes": ({"rabbitmq": {"bundled": {"replicas": 2}}}, ["bundled", "replicas"]),
    "a volume without a unit": ({"rabbitmq": {"bundled": {"persistence": {"size": "large"}}}},
                                ["persistence", "size"]),
    "a RabbitMQ elsewhere without an address": ({"rabbitmq": {"mode": "external"}},
                                                ["rabbitmq.external.existingSecret"]),
    "two bundles of authorities": (
        {"rabbitmq": {"mode": "external", "external": {
            "existingSecret": "url", "caSecret": "ca", "caConfigMap": "ca"}}},
        ["rabbitmq.external.caSecret", "rabbitmq.external.caConfigMap"]),
    **{f"{name}, which is the chart's": ({"config": {name: "1"}}, ["config", name]) for name in OWNED},
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
    """Every object of the values that has certain keys."""
    part = schema()["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    if "properties" in part:
        yield path
        for key, each in part["properties"].items():
            yield from levels(each, (*path, key))


LEVELS = [".".join(path) for path in levels(schema())]


@functools.cache
def with_unknown_keys():
    """What is said when there is one at every level, all at once."""
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


# What nothing can be made of without. With null, which Helm takes for "leave the default out", some of
# it would be rendered all the same: a drain of -5 s, a budget that lets nobody go, a way out to anywhere.
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


# A key with nothing but comments below it is null.
EMPTY = ["commonLabels", "podLabels", "podAnnotations", "extraEnv", "extraVolumes", "extraVolumeMounts",
         "nodeSelector", "tolerations", "affinity", "networkPolicy.clientsFrom",
         "rabbitmq.bundled.podLabels", "rabbitmq.bundled.config"]


@pytest.mark.parametrize("path", EMPTY)
def test_null_equals_the_default_for_optional_values(path):
    assert render(nested(path, None)).names() == render().names()
    assert render(nested(path, None)).one("Deployment") == render().one("Deployment")
