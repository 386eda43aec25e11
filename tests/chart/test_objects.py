"""The set of objects for given values, and those that remain after an uninstallation."""
import pytest

from chart import MATRIX, render, values_of

REPLICAS = ["Deployment/warren", "Service/warren", "Service/warren-admin"]
DEFAULT = sorted(REPLICAS + [
    "ConfigMap/warren-rabbitmq",
    "HorizontalPodAutoscaler/warren",
    "NetworkPolicy/warren",
    "NetworkPolicy/warren-rabbitmq",
    "Pod/warren-fanout",
    "PodDisruptionBudget/warren",
    "PodDisruptionBudget/warren-rabbitmq",
    "Secret/warren-rabbitmq",
    "Service/warren-rabbitmq",
    "Service/warren-rabbitmq-nodes",
    "ServiceAccount/warren",
    "StatefulSet/warren-rabbitmq",
])
BUNDLED = {"ConfigMap/warren-rabbitmq", "NetworkPolicy/warren-rabbitmq",
           "PodDisruptionBudget/warren-rabbitmq", "Secret/warren-rabbitmq", "Service/warren-rabbitmq",
           "Service/warren-rabbitmq-nodes", "StatefulSet/warren-rabbitmq"}
FLOOR = {"HorizontalPodAutoscaler/warren"}
# Objects that a matrix entry adds to the default, and objects that it removes.
DIFFERENCES = {
    "autoscaling": (set(), set()),
    "keda": ({"ScaledObject/warren"}, FLOOR),
    "ingress": ({"Ingress/warren"}, set()),
    "httproute": ({"HTTPRoute/warren"}, set()),
    "loadbalancer": (set(), set()),
    "ipv6": (set(), set()),
    "rabbitmq": (set(), set()),
    "existing-secret": (set(), {"Secret/warren-rabbitmq"}),
    "external": (set(), BUNDLED),
    "operator": ({f"{kind}/warren-rabbitmq"
                  for kind in ("RabbitmqCluster", "Exchange", "Queue", "Binding")},
                 BUNDLED - {"NetworkPolicy/warren-rabbitmq", "PodDisruptionBudget/warren-rabbitmq"}),
    "monitoring": ({"ServiceMonitor/warren", "PodMonitor/warren", "PodMonitor/warren-rabbitmq",
                    "PrometheusRule/warren", "ConfigMap/warren-dashboard"}, set()),
}


def test_default_values_create_exactly_these_objects(default):
    assert default.names() == DEFAULT


def test_minimal_values_create_exactly_these_objects():
    assert render(MATRIX["minimal"]).names() == sorted(REPLICAS)


@pytest.mark.parametrize("of", DIFFERENCES)
def test_values_add_and_remove_the_expected_objects(of):
    more, less = DIFFERENCES[of]
    found = set(render(MATRIX[of]).names())
    assert found == (set(DEFAULT) | more) - less


def test_every_values_file_has_expected_objects():
    # extras uses other names.
    assert set(MATRIX) == set(DIFFERENCES) | {"default", "minimal", "extras"}


@pytest.mark.parametrize("of, switched_off, missing", [
    ("default", {"networkPolicy": {"enabled": False}},
     {"NetworkPolicy/warren", "NetworkPolicy/warren-rabbitmq"}),
    ("default", {"podDisruptionBudget": {"enabled": False}}, {"PodDisruptionBudget/warren"}),
    ("default", {"serviceAccount": {"create": False}}, {"ServiceAccount/warren"}),
    ("default", {"tests": {"enabled": False}}, {"Pod/warren-fanout"}),
    ("default", {"replicas": 1}, FLOOR),
])
def test_each_switch_removes_only_its_objects(of, switched_off, missing):
    assert set(DEFAULT) - set(render({**values_of(of), **switched_off}).names()) == missing


def test_service_account_name_applies_without_creation():
    def account(values):
        spec = render({"serviceAccount": values}).one("Deployment")["spec"]["template"]["spec"]
        return spec["serviceAccountName"]

    assert account({"create": True}) == "warren"
    assert account({"create": True, "name": "chat"}) == "chat"
    assert account({"create": False}) == "default"
    assert account({"create": False, "name": "chat"}) == "chat"


def annotations(each):
    return each["metadata"].get("annotations", {})


def test_only_objects_that_protect_data_are_kept(objects):
    kept = [each["kind"] for each in objects if "helm.sh/resource-policy" in annotations(each)]
    protects = {"Secret", "RabbitmqCluster", "Exchange", "Queue", "Binding"}
    assert sorted(kept) == sorted(each["kind"] for each in objects if each["kind"] in protects)
    for each in objects.of(*protects):
        assert annotations(each)["helm.sh/resource-policy"] == "keep"


def test_volumes_are_retained_after_uninstall(objects):
    for each in objects.of("StatefulSet"):
        assert each["spec"]["persistentVolumeClaimRetentionPolicy"] == {
            "whenDeleted": "Retain", "whenScaled": "Retain"}


def test_operator_topology_is_kept_after_uninstall():
    # The operator would delete the objects on RabbitMQ as well.
    values = {"rabbitmq": {"mode": "operator", "operator": {"topology": {"enabled": True}}}}
    objects = render(values)
    assert len(objects.of("Exchange", "Queue", "Binding")) == 3
    test_only_objects_that_protect_data_are_kept(objects)


def test_only_the_test_is_a_hook(objects):
    hooks = [each for each in objects if "helm.sh/hook" in annotations(each)]
    assert hooks == objects.of("Pod")
    for each in hooks:
        assert annotations(each)["helm.sh/hook"] == "test"
