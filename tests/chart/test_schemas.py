"""Every object is valid for the Kubernetes API, from the oldest supported version to the newest."""
import pytest

from schemas import NEWEST, OLDEST, errors


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid(objects, version):
    assert [error for each in objects for error in errors(each, version)] == []


def test_unknown_kind_is_an_error():
    assert errors({"apiVersion": "example.org/v1", "kind": "Burrow"}, NEWEST)


def test_unknown_field_is_an_error(default):
    service = default.of("Service")[0]
    spec = {**service["spec"], "selectors": {}}
    assert errors({**service, "spec": spec}, OLDEST)


# Schemas do not cover this: the API treats these lists as maps and refuses duplicate keys when it merges.
def test_names_in_lists_are_unique(objects, pods):
    def unique(what, names):
        assert len(names) == len(set(names)), f"{what}: {sorted(names)}"

    unique("objects", objects.names())
    for owner, pod in pods:
        spec = pod["spec"]
        containers = spec.get("initContainers", []) + spec["containers"]
        unique("containers", [each["name"] for each in containers])
        unique("volumes", [each["name"] for each in spec.get("volumes", [])])
        for each in containers:
            unique("variables", [variable["name"] for variable in each.get("env", [])])
            unique("ports", [port["name"] for port in each.get("ports", [])])
            unique("mounts", [mount["mountPath"] for mount in each.get("volumeMounts", [])])
    for service in objects.of("Service"):
        unique("ports", [port["name"] for port in service["spec"]["ports"]])


def test_every_mount_has_a_volume(objects, pods):
    for owner, pod in pods:
        spec = pod["spec"]
        volumes = {each["name"] for each in spec.get("volumes", [])}
        if owner["kind"] == "StatefulSet":
            claims = owner["spec"].get("volumeClaimTemplates", [])
            volumes |= {each["metadata"]["name"] for each in claims}
        for container in spec.get("initContainers", []) + spec["containers"]:
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in volumes
