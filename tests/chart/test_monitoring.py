"""Monitors and rules in a release."""
import pytest
import yaml

from chart import MATRIX, component, render, values_of
from promtool import RULES
from schemas import NEWEST, errors

MONITORING = MATRIX["monitoring"]


def test_release_contains_the_rules():
    objects = render({"monitoring": {"rules": {"enabled": True}}})
    assert objects.one("PrometheusRule")["spec"] == yaml.safe_load(RULES.read_text())


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor", "PrometheusRule"])
def test_monitors_have_the_configured_labels(kind):
    for each in render(MONITORING).of(kind):
        assert each["metadata"]["labels"]["release"] == "prometheus"
        assert errors(each, NEWEST) == []


def test_monitors_scrape_the_admin_port():
    objects = render(MONITORING)
    for monitor in (objects.one("ServiceMonitor", "warren")["spec"]["endpoints"],
                    objects.one("PodMonitor", "warren")["spec"]["podMetricsEndpoints"]):
        assert monitor == [{"port": "admin", "path": "/metrics", "interval": "30s"}]


@pytest.mark.parametrize("mode, monitors", [("bundled", 2), ("operator", 2), ("external", 1)])
def test_rabbitmq_is_scraped_if_it_belongs_to_the_release(mode, monitors):
    values = {**values_of("monitoring"), "rabbitmq": {"mode": mode, "external": {"existingSecret": "url"}}}
    objects = render(values)
    assert len(objects.of("PodMonitor")) == monitors
    if monitors == 2:
        found = objects.one("PodMonitor", "warren-rabbitmq")["spec"]
        assert found["podMetricsEndpoints"] == [{"port": "prometheus", "path": "/metrics", "interval": "30s"}]
        # The operator sets its own pod labels.
        [policy] = [each["spec"] for each in objects.of("NetworkPolicy") if component(each) == "rabbitmq"]
        assert found["selector"] == policy["podSelector"]
