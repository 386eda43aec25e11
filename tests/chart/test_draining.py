"""Grace period, drain and probes fit each other."""
import pytest

from chart import component, pod_templates, render
from documents import variables
from units import seconds
from workloads import environment, replica

# Seconds that README.md allows beyond the publish timeout when RabbitMQ is unavailable.
BEYOND = 12


def slack(objects):
    """Unused seconds of the grace period."""
    spec, container = replica(objects)
    given = {**variables(), **environment(container)}
    planned = sum(seconds(given[f"WARREN_{name}"])
                  for name in ("DRAIN_DELAY", "DRAIN_PERIOD", "PUBLISH_TIMEOUT"))
    return spec["terminationGracePeriodSeconds"] - planned - BEYOND


def test_grace_period_covers_the_drain(objects):
    assert slack(objects) >= 0


@pytest.mark.parametrize("grace", [60, 61, 65, 89, 90, 91, 300, 3600, 86400])
def test_grace_period_covers_the_drain_at_the_longest_publish_timeout(grace):
    for timeout in ("15s", "9999ms"):
        objects = render({"terminationGracePeriodSeconds": grace,
                          "config": {"WARREN_PUBLISH_TIMEOUT": timeout}})
        assert slack(objects) >= 0
        _, container = replica(objects)
        delay, period = (seconds(environment(container)[f"WARREN_DRAIN_{name}"])
                         for name in ("DELAY", "PERIOD"))
        # Long enough for load balancers to notice: a failed readiness probe, and some margin.
        assert delay >= 5
        # All of the available time is used.
        assert delay + period == grace - 30


def test_drain_variables_are_set_once(objects):
    _, container = replica(objects)
    names = [each["name"] for each in container["env"]]
    assert names.count("WARREN_DRAIN_DELAY") == names.count("WARREN_DRAIN_PERIOD") == 1


def test_drain_delay_outlasts_the_readiness_probe(objects):
    _, container = replica(objects)
    probe = container["readinessProbe"]
    delay = seconds(environment(container)["WARREN_DRAIN_DELAY"])
    assert probe["periodSeconds"] * probe["failureThreshold"] <= delay


def test_liveness_does_not_depend_on_rabbitmq(objects):
    _, container = replica(objects)
    admin = {"port": "admin"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", **admin}
    assert container["startupProbe"]["httpGet"] == {"path": "/livez", **admin}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", **admin}


def test_rolling_update_starts_new_pods_first(objects):
    deployment = objects.one("Deployment")["spec"]
    assert deployment["strategy"]["type"] == "RollingUpdate"
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert deployment["minReadySeconds"] >= 5


def test_evictions_leave_some_pods(objects, entry):
    budgets = objects.of("PodDisruptionBudget")
    for budget in budgets:
        spec = budget["spec"]
        # Not zero, which would block node drains, and not all.
        assert spec.get("maxUnavailable") not in (0, "0%", "100%") and "minAvailable" not in spec
        # An unready pod does not block evictions.
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    if entry == "default":
        assert sorted(map(component, budgets)) == ["rabbitmq", "replica"]


def test_rabbitmq_grace_period_covers_the_pre_stop_hook(objects):
    for owner, pod in pod_templates(objects.of("StatefulSet")):
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 120
