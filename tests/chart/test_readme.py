"""The chart's README matches values.yaml."""
import re
import sys

import yaml

from chart import CHART, ROOT, run

README = (CHART / "README.md").read_text()


def test_readme_is_up_to_date():
    done = run(sys.executable, ROOT / "scripts/chart-readme")
    assert done.returncode == 0, done.stderr
    assert README == done.stdout, "make docs"


def test_value_without_a_comment_is_an_error(tmp_path):
    scripts, chart = tmp_path / "scripts", tmp_path / "charts/warren"
    scripts.mkdir()
    chart.mkdir(parents=True)
    script = scripts / "chart-readme"
    script.write_text((ROOT / "scripts/chart-readme").read_text())
    (chart / "README.head.md").write_text("# A chart\n")
    (chart / "values.yaml").write_text("# With one.\na: 1\nb:\n  c: {}\n  # And another.\n  d: {e: 1}\n")
    done = run(sys.executable, script)
    assert done.returncode != 0 and done.stderr == "values.yaml: b.c has no comment\n"


def test_readme_commands_name_existing_values():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path in re.findall(r"--set (\S+)=", README):
        found = values
        for key in path.split("."):
            found = found[key]
