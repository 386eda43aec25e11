"""The version of Warren: the same in every file, and changed in every file by scripts/set-version."""
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml


def listed(root):
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, cwd=root, text=True, stdout=subprocess.PIPE, check=True).stdout
    return [name for name in output.split("\0") if (root / name).is_file()]


@pytest.fixture(scope="module")
def copy(root, tmp_path_factory):
    """A copy of the repository."""
    directory = tmp_path_factory.mktemp("copy")
    for name in listed(root):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, directory / name)
    return directory


def version(root):
    return tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def test_chart_and_program_have_one_version(root):
    chart = yaml.safe_load((root / "charts/warren/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version(root), version(root))


def test_changelog_has_the_version_or_what_is_not_released(root):
    changelog = (root / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[(Unreleased|{re.escape(version(root))})\]", changelog, re.MULTILINE)


def test_set_version_changes_it_everywhere(root, copy):
    # Files with versions of the past, or with a text that only looks like one. `make manifests` updates k8s/.
    others = {"CHANGELOG.md", "SECURITY.md", "docs/renamed.md", "docs/SUMMARY.md", "docs/releasing.md",
              "benches/fanout/dialect.rs", "tests/browser/client.test.mjs", "Cargo.lock", "fuzz/Cargo.lock"}
    old = re.compile(rf"(?<![\d.]){re.escape(version(root))}(?![\d.])")
    run = subprocess.run([copy / "scripts/set-version", "98.7.6"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert version(copy) == "98.7.6"
    for name in listed(root):
        if name in others or name.startswith(("k8s/base/", "k8s/overlays/")) or name.endswith(".png"):
            continue
        lines = [line for line in (copy / name).read_text(errors="replace").splitlines()
                 if old.search(line) and "before 0.1.0" not in line]
        assert lines == [], name
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"]:
        packages = tomllib.loads((copy / lock).read_text())["package"]
        own = {package["version"] for package in packages if package["name"].startswith("warren") and "source" not in package}
        assert own <= {"98.7.6", "0.0.0"} and "98.7.6" in own, lock


def test_set_version_refuses_what_is_no_version(copy):
    before = (copy / "Cargo.toml").read_text()
    run = subprocess.run([copy / "scripts/set-version", "v1"], capture_output=True, text=True)
    assert run.returncode == 1 and "'v1' is not a version" in run.stderr
    assert (copy / "Cargo.toml").read_text() == before
