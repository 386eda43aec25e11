"""What Prometheus and Grafana are given is what they can read, and what is in the files."""
import json

import pytest
import yaml

from chart import CHART, MATRIX, render
from promtool import RULES
from schemas import NEWEST, errors

DASHBOARDS = CHART / "dashboards"
MONITORING = MATRIX["monitoring"]


def test_every_file_is_in_the_release():
    objects = render({"monitoring": {"rules": {"enabled": True}, "dashboard": {"enabled": True}}})
    assert objects.one("PrometheusRule")["spec"] == yaml.safe_load(RULES.read_text())
    dashboards = [json.loads(text) for each in objects.of("ConfigMap") if dashboard(each)
                  for text in each["data"].values()]
    assert dashboards == [json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))]


def dashboard(each):
    return each["metadata"]["labels"].get("grafana_dashboard") == "1"


def test_grafana_finds_the_dashboard():
    [found] = filter(dashboard, render(MONITORING).of("ConfigMap"))
    assert found["metadata"]["annotations"] == {"grafana_folder": "Warren"}
    assert all(name.endswith(".json") for name in found["data"])


@pytest.mark.parametrize("path", sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.name)
def test_dashboards_are_dashboards(path):
    board = json.loads(path.read_text())
    assert board["title"] and board["uid"] and board["panels"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    # The one that is chosen at the top, not the one of whoever drew it.
    for panel in board["panels"]:
        assert panel.get("datasource", {}).get("uid", "${datasource}") == "${datasource}"


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
