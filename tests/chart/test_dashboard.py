"""The structure of the dashboard, and the title, description and links of each panel.
tests/it/dashboard.rs runs the queries with a real Prometheus."""
import itertools
import json
import re

import pytest

from chart import CHART, MATRIX, ROOT, render, values_of

TEXT = (CHART / "dashboards/warren.json").read_text()
BOARD = json.loads(TEXT)
OPERATIONS = (ROOT / "docs/operations.md").read_text()
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [each["expr"] for each in
               BOARD["annotations"]["list"] + [target for panel in PANELS for target in panel["targets"]]]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"short", "percentunit", "s", "bytes", "Bps", "mps", "cps", "suffix: cores"}
# Metrics that are on no panel, with the reason.
ABSENT = {
    "warren_compression_input_bytes_total": "savings by compression, which need no action",
    "warren_compression_output_bytes_total": "as above",
    "warren_runtime_parks_total": "adds little to the share of time that a thread is busy",
    "warren_runtime_tasks": "equals the number of connections",
    "process_virtual_memory_bytes": "not limited",
    "process_threads": "constant",
}

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def metrics():
    """The types of the metrics in docs/metrics.md, by name."""
    text = (ROOT / "docs/metrics.md").read_text()
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE))


def read(expression):
    """Pairs of a metric in an expression and its label matchers."""
    return re.findall(r"\b((?:warren|process|rabbitmq)_\w+|ALERTS)({[^}]*})?", expression)


def configmap(values, helm="helm3"):
    [found] = [each for each in render(values, helm).of("ConfigMap")
               if each["metadata"]["labels"].get("grafana_dashboard") == "1"]
    return found


def test_configmap_contains_the_dashboard_file(helm):
    found = configmap({"monitoring": {"dashboard": {"enabled": True}}}, helm)
    assert found["data"] == {"warren.json": TEXT}


def test_configmap_has_the_folder_annotation():
    assert configmap(MATRIX["monitoring"])["metadata"]["annotations"] == {"grafana_folder": "Warren"}


def test_dashboard_links_use_the_runbook_url():
    where = values_of("monitoring")["monitoring"]["rules"]["runbookUrl"]
    found = configmap(MATRIX["monitoring"])["data"]["warren.json"]
    assert found == TEXT.replace("docs/operations.md", where)


def test_dashboard_has_a_fixed_title_and_uid():
    assert (BOARD["title"], BOARD["uid"], BOARD["tags"]) == ("Warren", "warren", ["warren"])
    assert BOARD["refresh"] == "30s"
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_variables_select_datasource_namespace_and_replicas():
    variables = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "pod"]
    assert variables["datasource"]["type"] == "datasource"
    assert all(variables[name]["datasource"] == DATASOURCE for name in ("namespace", "pod"))
    assert variables["pod"]["multi"] and variables["pod"]["includeAll"]
    # Refreshed when the time range changes, because replicas come and go.
    assert variables["pod"]["refresh"] == 2


def test_rows_are_users_replicas_rabbitmq_and_clients():
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert [title.split(":")[0] for title in rows] == ["Users", "Replicas", "RabbitMQ", "Clients"]
    assert BOARD["panels"][0]["type"] == "row"


def test_panels_do_not_overlap_or_leave_holes():
    def cells(panel):
        at = panel["gridPos"]
        return set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
    taken = [cell for panel in BOARD["panels"] for cell in cells(panel)]
    assert len(taken) == len(set(taken))
    assert all(x < 24 for x, _ in taken)
    # In reading order, without holes.
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in BOARD["panels"]]
    assert places == sorted(places)
    assert len(taken) == 24 * (max(y for _, y in taken) + 1)


@each_panel
def test_every_panel_has_a_description(panel):
    assert panel["title"] and panel["type"] in ("timeseries", "stat", "table", "heatmap", "state-timeline")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    # Meaning, normal values, and what to do otherwise.
    assert re.match(r"[A-Z].*\. Normal: .*\.$", panel["description"])
    assert panel["datasource"] == DATASOURCE
    for target in panel["targets"]:
        assert target["legendFormat"] and "datasource" not in target
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@each_panel
def test_panel_links_lead_to_existing_sections(panel):
    headings = re.findall(r"^#+ (.*)$", OPERATIONS, re.MULTILINE)
    places = {heading.lower().replace(" ", "-") for heading in headings}
    for text, place in re.findall(r"\[([^]]+)\]\(docs/operations\.md#([^)]+)\)", panel["description"]):
        assert place in places and place == text.lower().replace(" ", "-")
    assert not re.search(r"(?<!\[)\bWarren[A-Z]", panel["description"]), "an alert without a link"


def test_every_alert_is_linked_from_a_panel():
    alerts = set(re.findall(r"^### (Warren\w+)$", OPERATIONS, re.MULTILINE))
    linked = {alert for panel in PANELS for alert in re.findall(r"\[(Warren\w+)\]", panel["description"])}
    assert alerts == linked


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_query_uses_the_selected_variables(expression):
    known = metrics()
    assert read(expression)
    for name, labels in read(expression):
        assert 'namespace="$namespace"' in labels
        if name == "ALERTS" or name.startswith("rabbitmq_"):
            continue
        assert 'pod=~"$pod"' in labels
        stem = re.sub(r"_(bucket|sum|count)$", "", name)
        assert known.get(name) or known.get(stem) == "histogram"
    # Grafana derives this interval from the scrape interval.
    assert set(re.findall(r"\[(.*?)\]", expression)) <= {"$__rate_interval"}
    counters = r"\b(\w+_total|\w+_bucket|\w+_count|\w+_sum){"
    for name in re.findall(counters, expression):
        assert re.search(rf"\b(rate|increase)\({name}\b", expression)


def test_every_metric_is_on_the_dashboard():
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for expression in EXPRESSIONS
             for name, _ in read(expression)}
    assert set(metrics()) - shown == set(ABSENT)
