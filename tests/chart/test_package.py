"""Contents of the packaged chart."""
import tarfile

import pytest

from chart import BIN, CHART, HELMS, run


@pytest.mark.parametrize("program", HELMS)
def test_package_contains_only_user_files(program, tmp_path):
    done = run(BIN / program, "package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    with tarfile.open(package) as files:
        names = {name.removeprefix("warren/") for name in files.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt",
            "rules/warren.yaml", "dashboards/warren.json"} <= names
    assert not any(name.startswith(("ci/", "README.head")) for name in names)
