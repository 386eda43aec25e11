"""promtool, and the alert rules that it checks."""
import yaml

from chart import CHART, ROOT, run

RULES = CHART / "rules/warren.yaml"
TESTS = ROOT / "tests/alerts"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"]
          for rule in group["rules"]}


def promtool(*command):
    """Runs promtool and fails with its output if it reports a problem."""
    done = run("promtool", *command)
    assert done.returncode == 0, done.stdout + done.stderr
