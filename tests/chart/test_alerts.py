"""Alert rules: they are valid, fire when they should and only then, and have a section in the runbook of
docs/operations.md. The cases are in tests/alerts, one file per alert."""
import json
import re

import pytest
import yaml

from chart import CHART, MATRIX, ROOT, render
from promtool import ALERTS, RULES, TESTS, promtool

OPERATIONS = (ROOT / "docs/operations.md").read_text()


def cases(alert):
    return yaml.safe_load((TESTS / f"{alert}.yaml").read_text())["tests"]


def section(alert):
    """The runbook section of an alert."""
    return re.search(rf"^### {alert}\n(.*?)^#", OPERATIONS, re.MULTILINE | re.DOTALL)[1]


def test_alert_rules_are_valid():
    promtool("check", "rules", RULES)


def test_every_alert_has_a_case_file():
    assert sorted(path.stem for path in TESTS.glob("*.yaml")) == sorted(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_cases_of_alert_pass(alert):
    promtool("test", "rules", TESTS / f"{alert}.yaml")


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_firing_and_silent_cases(alert):
    # promtool also compares the annotations.
    fires = [test for case in cases(alert) for test in case.get("alert_rule_test", [])
             if test.get("exp_alerts")]
    assert fires and {test["alertname"] for test in fires} == {alert}
    ever = f'count by (alertname) (max_over_time(ALERTS{{alertname="{alert}", alertstate="firing"}}[1h]))'
    near = [case for case in cases(alert) if case["name"].startswith("Silent when ")]
    assert near
    for case in near:
        [silence] = case["promql_expr_test"]
        assert silence["expr"] == ever and not silence.get("exp_samples")


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_severity_and_a_runbook_section(alert):
    rule = ALERTS[alert]
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{alert.lower()}"
    assert section(alert).lstrip().startswith("**Fires** when")
    row = f"| [{alert}](#{alert.lower()}) | {rule['labels']['severity']} |"
    assert row in OPERATIONS, row


@pytest.mark.parametrize("alert", ALERTS)
def test_runbook_states_the_duration_of_each_alert(alert):
    words = {"1m": "for a minute", "3m": "for 3 minutes", "5m": "for 5 minutes", "10m": "for 10 minutes",
             "30m": "for half an hour", "90s": "terminationGracePeriodSeconds"}
    fires = section(alert).partition("\n\n**Meaning.**")[0]
    assert words.get(ALERTS[alert].get("for"), "") in " ".join(fires.split())


def released(values):
    """The rules of a release, by alert."""
    [group] = render({"monitoring": {"rules": {"enabled": True}}, **values}).one("PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_drain_alert_waits_for_the_grace_period():
    usual = yaml.safe_load((CHART / "values.yaml").read_text())["terminationGracePeriodSeconds"]
    assert ALERTS["WarrenDrainStuck"]["for"] == f"{usual}s"
    rules = released({"terminationGracePeriodSeconds": 390})
    changed = {name for name, rule in rules.items() if rule != ALERTS[name]}
    assert changed == {"WarrenDrainStuck"} and rules["WarrenDrainStuck"]["for"] == "390s"


def test_alerts_can_be_disabled_and_the_runbook_url_changed():
    [rule] = render(MATRIX["monitoring"]).of("PrometheusRule")
    [group] = rule["spec"]["groups"]
    assert {each["alert"] for each in group["rules"]} == ALERTS.keys() - {"WarrenUnevenConnections"}
    for each in group["rules"]:
        url = "https://git.example.org/warren/docs/operations.md#" + each["alert"].lower()
        assert each["annotations"]["runbook_url"] == url


def test_only_existing_alerts_can_be_disabled():
    schema = json.loads((CHART / "values.schema.json").read_text())
    rules = schema["properties"]["monitoring"]["properties"]["rules"]["properties"]
    assert rules["disabled"]["items"]["enum"] == list(ALERTS)
