"""The number of replicas and what may change it."""
import pytest

from chart import render

HPA = "HorizontalPodAutoscaler"


def test_deployment_has_no_replica_count(objects):
    assert "replicas" not in objects.one("Deployment")["spec"]


def test_at_most_one_autoscaler_exists(objects):
    deployment = objects.one("Deployment")
    scalers = objects.of(HPA, "ScaledObject")
    assert len(scalers) <= 1
    for each in scalers:
        target = each["spec"]["scaleTargetRef"]
        assert target["name"] == deployment["metadata"]["name"]
        assert target.get("kind", "Deployment") == "Deployment"
        assert target.get("apiVersion", "apps/v1") == "apps/v1"


@pytest.mark.parametrize("replicas", [2, 3, 10000])
def test_without_autoscaling_the_hpa_only_sets_a_minimum(replicas):
    spec = render({"replicas": replicas}).one(HPA)["spec"]
    assert spec["minReplicas"] == replicas
    # Higher than any count set with `kubectl scale`, because the HPA reduces counts above its maximum.
    assert spec["maxReplicas"] == 10000
    assert spec["behavior"] == {"scaleUp": {"selectPolicy": "Disabled"},
                                "scaleDown": {"selectPolicy": "Disabled"}}


def test_one_replica_needs_no_hpa():
    assert not render({"replicas": 1}).of(HPA)


def test_autoscaling_uses_cpu_by_default():
    spec = render({"autoscaling": {"enabled": True}}).one(HPA)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    [metric] = spec["metrics"]
    assert metric["resource"] == {"name": "cpu",
                                  "target": {"type": "Utilization", "averageUtilization": 70}}


def test_autoscaling_uses_connections_if_set():
    values = {"autoscaling": {"enabled": True, "minReplicas": 3, "targetConnections": 5000,
                              "targetCPUUtilizationPercentage": None}}
    spec = render(values).one(HPA)["spec"]
    assert spec["minReplicas"] == 3
    [metric] = spec["metrics"]
    assert metric == {"type": "Pods", "pods": {
        "metric": {"name": "warren_connections"},
        "target": {"type": "AverageValue", "averageValue": "5000"}}}


def test_keda_replaces_the_hpa():
    values = {"autoscaling": {"enabled": True, "targetConnections": 5000, "keda": {
        "enabled": True, "prometheusAddress": "http://prometheus:9090"}}}
    objects = render(values, release="chat", namespace="rooms")
    assert not objects.of(HPA)
    spec = objects.one("ScaledObject")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 10)
    cpu, connections = spec["triggers"]
    assert (cpu["type"], cpu["metadata"]) == ("cpu", {"value": "70"})
    assert connections["metadata"]["threshold"] == "5000"
    # Only connections of this release's pods.
    query = connections["metadata"]["query"]
    assert 'namespace="rooms"' in query and 'pod=~"chat-warren-' in query


@pytest.mark.parametrize("keda", [False, True])
def test_scale_down_is_slow(keda):
    objects = render({"autoscaling": {"enabled": True, "keda": {"enabled": keda}}})
    spec = objects.of(HPA, "ScaledObject")[0]["spec"]
    behavior = spec["behavior"] if not keda else (
        spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"])
    down = behavior["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 600
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0


def test_replicas_are_spread_over_zones_and_nodes(default):
    deployment = default.one("Deployment")["spec"]
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {
        "topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for each in spread:
        assert each["labelSelector"] == deployment["selector"]
        # Per rollout, so that old pods do not affect the placement of new ones.
        assert each["matchLabelKeys"] == ["pod-template-hash"]
