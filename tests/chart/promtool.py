"""Prometheus' own tool, and the rules that it is asked about."""
import yaml

from chart import CHART, ROOT, run

RULES = CHART / "rules/warren.yaml"
TESTS = ROOT / "tests/alerts"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"]
          for rule in group["rules"]}


def promtool(*command):
    """Fails with what the tool says, if it finds anything."""
    done = run("promtool", *command)
    assert done.returncode == 0, done.stdout + done.stderr
