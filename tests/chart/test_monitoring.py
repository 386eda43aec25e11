"""What Prometheus is given is what it can read, and what is in the files."""
import pytest
import yaml

from chart import MATRIX, component, render, values_of
from promtool import RULES
from schemas import NEWEST, errors

MONITORING = MATRIX["monitoring"]


def test_the_rules_are_in_the_release():
    objects = render({"monitoring": {"rules": {"enabled": True}}})
    assert objects.one("PrometheusRule")["spec"] == yaml.safe_load(RULES.read_text())


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor", "PrometheusRule"])
def test_prometheus_finds_them_by_their_labels(kind):
    for each in render(MONITORING).of(kind):
        assert each["metadata"]["labels"]["release"] == "prometheus"
        assert errors(each, NEWEST) == []


def test_metrics_that_are_asked_for_are_the_replicas():
    objects = render(MONITORING)
    for monitor in (objects.one("ServiceMonitor", "warren")["spec"]["endpoints"],
                    objects.one("PodMonitor", "warren")["spec"]["podMetricsEndpoints"]):
        assert monitor == [{"port": "admin", "path": "/metrics", "interval": "30s"}]


@pytest.mark.parametrize("mode, monitors", [("bundled", 2), ("operator", 2), ("external", 1)])
def test_rabbitmq_is_read_where_it_belongs_to_the_release(mode, monitors):
    values = {**values_of("monitoring"), "rabbitmq": {"mode": mode, "external": {"existingSecret": "url"}}}
    objects = render(values)
    assert len(objects.of("PodMonitor")) == monitors
    if monitors == 2:
        found = objects.one("PodMonitor", "warren-rabbitmq")["spec"]
        assert found["podMetricsEndpoints"] == [{"port": "prometheus", "path": "/metrics", "interval": "30s"}]
        # The operator gives pods labels of its own.
        [policy] = [each["spec"] for each in objects.of("NetworkPolicy") if component(each) == "rabbitmq"]
        assert found["selector"] == policy["podSelector"]
