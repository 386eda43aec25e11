"""Requirements for every pod of the release, with any values."""
import pytest

from chart import component
from units import quantity


@pytest.fixture
def containers(pods):
    """Triples of a pod spec, a container, and whether it is an init container."""
    return [
        (pod["spec"], container, first)
        for _, pod in pods
        for first, key in ((True, "initContainers"), (False, "containers"))
        for container in pod["spec"].get(key, [])
    ]


def test_release_has_replica_pods(pods):
    assert any(component(pod) == "replica" for _, pod in pods)


def test_no_pod_runs_as_root(pods, containers):
    for _, pod in pods:
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        # Numeric, because the kubelet cannot verify that a name is not root.
        assert context["runAsUser"] > 0 and context["runAsGroup"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for _, container, _ in containers:
        assert not {"runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile"} & set(
            container["securityContext"])


def test_containers_have_no_privileges(containers):
    for _, container, _ in containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not context.get("privileged")


def test_pods_share_nothing_with_the_node(pods):
    for _, pod in pods:
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        assert not any("hostPort" in port
                       for container in spec["containers"] for port in container.get("ports", []))


def test_every_container_has_requests_and_limits(containers):
    for _, container, _ in containers:
        resources = container["resources"]
        assert {"cpu", "memory"} <= set(resources["requests"])
        # Without a limit, a leak would affect other pods of the node. The CPU limit also determines the
        # number of workers.
        assert {"cpu", "memory"} <= set(resources["limits"])
        for name, limit in resources["limits"].items():
            assert quantity(resources["requests"][name]) <= quantity(limit)


def test_no_service_account_token_is_mounted(pods, objects):
    for _, pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert not any(
            "serviceAccountToken" in source
            for volume in pod["spec"].get("volumes", [])
            for source in volume.get("projected", {}).get("sources", []))
    for account in objects.of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert not objects.of("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def test_service_links_are_disabled(pods):
    # Warren refuses unknown variables such as WARREN_PORT=tcp://…, and RabbitMQ interprets RABBITMQ_….
    for _, pod in pods:
        assert pod["spec"]["enableServiceLinks"] is False


def test_every_image_has_a_fixed_tag_or_digest(containers):
    for _, container, _ in containers:
        image = container["image"]
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        assert "@sha256:" in image or tag not in ("", "latest"), image
        assert container["imagePullPolicy"] in ("Always", "IfNotPresent", "Never")


def test_long_running_containers_have_three_different_probes(pods):
    for owner, pod in pods:
        if owner["kind"] not in ("Deployment", "StatefulSet"):
            continue
        for container in pod["spec"]["containers"]:
            probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
            assert all(a != b for a in probes for b in probes if a is not b)
            startup, readiness, liveness = probes
            # A restart is worse than being unready, so the liveness probe is more tolerant.
            assert time_to_failure(liveness) > time_to_failure(readiness)
            assert time_to_failure(startup) >= 60


def time_to_failure(probe):
    """Seconds until a probe fails."""
    return probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
