"""Each selector finds what it is for, and nothing else."""
import pytest

from chart import LONG, MATRIX, component, matches, render, values_of
from workloads import ports, workloads


def selectors(objects):
    """Every selector of pods, with the component that it is for."""
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


def test_each_finds_its_pods_and_no_others(objects):
    pods = workloads(objects)
    for of, selector in selectors(objects):
        assert [name for name, labels in pods.items() if matches(selector, labels)] == [of]


def test_none_finds_pods_of_another_release(values, objects, entry):
    others = workloads(render(values, release="other")).values()
    # Constraints that somebody wrote may say anything.
    written = values_of(entry).get("topologySpreadConstraints", [])
    for _, selector in selectors(objects):
        if selector not in [each["labelSelector"] for each in written]:
            assert not any(matches(selector, labels) for labels in others)


def immutable(objects):
    """What the API does not let an upgrade change."""
    for each in objects.of("Deployment", "StatefulSet"):
        yield each["kind"], each["metadata"]["name"], each["spec"]["selector"], (
            each["spec"].get("serviceName"), each["spec"].get("podManagementPolicy"),
            [claim["metadata"] for claim in each["spec"].get("volumeClaimTemplates", [])])


def test_no_value_changes_what_cannot_be_changed(values, entry, default):
    if entry == "extras":
        # It has another name, which is said to make other objects.
        return
    before = list(immutable(default))
    assert all(each in before for each in immutable(render(values)))


def test_nor_do_labels_of_ones_own():
    labels = {"app.kubernetes.io/component": "other", "app.kubernetes.io/name": "other",
              "app.kubernetes.io/instance": "other"}
    objects = render({"podLabels": labels, "commonLabels": labels,
                      "rabbitmq": {"bundled": {"podLabels": labels}}})
    assert list(immutable(objects)) == list(immutable(render()))
    test_each_finds_its_pods_and_no_others(objects)


def test_services_lead_to_ports_that_are_there(objects):
    there = ports(objects)
    for service in objects.of("Service"):
        of = component(service).replace("admin", "replica")
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in there[of]


def test_the_admin_port_is_on_a_service_of_its_own(objects):
    for service in objects.of("Service"):
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        if component(service) == "replica":
            assert targets == {"clients"}
        elif component(service) == "admin":
            assert targets == {"admin"}
            assert service["spec"]["clusterIP"] == "None"
        if component(service) != "replica":
            # Never outside of the cluster, whatever the clients' Service is.
            assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
            assert "externalIPs" not in service["spec"]


def test_what_comes_from_outside_gets_to_the_clients_port(objects):
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


def test_both_ways_from_outside_are_looked_at():
    assert len(list(outside(render(MATRIX["ingress"])))) == 2
    assert len(list(outside(render(MATRIX["httproute"])))) == 1


@pytest.mark.parametrize("release", ["warren", LONG])
def test_monitors_find_each_replica_once(release):
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
