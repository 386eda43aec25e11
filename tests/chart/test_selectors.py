"""Each selector matches its own pods only."""
import pytest

from chart import LONG, MATRIX, component, matches, render, values_of
from workloads import ports, workloads


def selectors(objects):
    """Pairs of a component and a selector for its pods."""
    for each in objects:
        spec = each.get("spec", {})
        of = component(each).replace("admin", "replica")
        if each["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget", "PodMonitor", "Service"):
            yield of, spec["selector"]
        elif each["kind"] == "NetworkPolicy":
            yield of, spec["podSelector"]
        if each["kind"] in ("Deployment", "StatefulSet"):
            for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
                yield of, spread["labelSelector"]


def test_each_selector_matches_exactly_its_pods(objects):
    pods = workloads(objects)
    for of, selector in selectors(objects):
        assert [name for name, labels in pods.items() if matches(selector, labels)] == [of]


def test_no_selector_matches_pods_of_another_release(values, objects, entry):
    others = workloads(render(values, release="other")).values()
    # User-defined constraints may select anything.
    written = values_of(entry).get("topologySpreadConstraints", [])
    for _, selector in selectors(objects):
        if selector not in [each["labelSelector"] for each in written]:
            assert not any(matches(selector, labels) for labels in others)


def immutable(objects):
    """Fields that the API does not allow to change in an upgrade."""
    for each in objects.of("Deployment", "StatefulSet"):
        yield each["kind"], each["metadata"]["name"], each["spec"]["selector"], (
            each["spec"].get("serviceName"), each["spec"].get("podManagementPolicy"),
            [claim["metadata"] for claim in each["spec"].get("volumeClaimTemplates", [])])


def test_no_value_changes_immutable_fields(values, entry, default):
    if entry == "extras":
        # It sets another name, which creates other objects.
        return
    before = list(immutable(default))
    assert all(each in before for each in immutable(render(values)))


def test_custom_labels_do_not_change_immutable_fields():
    labels = {"app.kubernetes.io/component": "other", "app.kubernetes.io/name": "other",
              "app.kubernetes.io/instance": "other"}
    objects = render({"podLabels": labels, "commonLabels": labels,
                      "rabbitmq": {"bundled": {"podLabels": labels}}})
    assert list(immutable(objects)) == list(immutable(render()))
    test_each_selector_matches_exactly_its_pods(objects)


def test_service_target_ports_exist(objects):
    there = ports(objects)
    for service in objects.of("Service"):
        of = component(service).replace("admin", "replica")
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in there[of]


def test_admin_port_has_its_own_service(objects):
    for service in objects.of("Service"):
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        if component(service) == "replica":
            assert targets == {"clients"}
        elif component(service) == "admin":
            assert targets == {"admin"}
            assert service["spec"]["clusterIP"] == "None"
        if component(service) != "replica":
            # Never exposed, whatever the type of the clients' Service.
            assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
            assert "externalIPs" not in service["spec"]


def test_ingress_and_route_lead_to_the_client_port(objects):
    for backend in outside(objects):
        service = objects.one("Service", backend["name"])
        [port] = service["spec"]["ports"]
        assert port["targetPort"] == "clients"
        asked = backend["port"]
        assert asked in ({"name": port["name"]}, port["port"])


def outside(objects):
    for ingress in objects.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                yield path["backend"]["service"]
    for route in objects.of("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            yield from rule["backendRefs"]


def test_ingress_and_route_backends_are_found():
    assert len(list(outside(render(MATRIX["ingress"])))) == 2
    assert len(list(outside(render(MATRIX["httproute"])))) == 1


@pytest.mark.parametrize("release", ["warren", LONG])
def test_monitors_select_each_replica_once(release):
    objects = render(MATRIX["monitoring"], release=release)
    monitor = objects.one("ServiceMonitor")
    found = [each for each in objects.of("Service")
             if matches(monitor["spec"]["selector"], each["metadata"]["labels"])]
    assert [component(each) for each in found] == ["admin"]
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in found[0]["spec"]["ports"]]
    for monitor in objects.of("PodMonitor"):
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports(objects)[component(monitor)]
