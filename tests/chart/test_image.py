"""The Dockerfile: linting, properties of the image, and completeness of the build context.

These tests do not build the image, which takes minutes and a container builder.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).parent / "hadolint"


def instructions():
    """The Dockerfile as pairs of a keyword and its text, with continued lines joined."""
    lines = (line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages():
    found = []
    for keyword, text in instructions():
        if keyword == "FROM":
            found.append([])
        if found:
            found[-1].append((keyword, text))
    return found


def of(stage, wanted):
    return [text for keyword, text in stage if keyword == wanted]


@pytest.fixture
def image():
    return stages()[-1]


@pytest.fixture
def arguments():
    return dict(text.split("=", 1) for text in of(instructions(), "ARG") if "=" in text)


def test_hadolint_reports_nothing():
    run = subprocess.run([HADOLINT, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_image_user_is_numeric_and_not_root(image):
    assert of(image, "USER") == ["65532:65532"]


def test_entrypoint_is_the_program_without_a_shell(image):
    (entrypoint,) = of(image, "ENTRYPOINT")
    assert json.loads(entrypoint) == ["/usr/local/bin/warren"]
    assert not of(image, "CMD")


def test_final_stage_runs_no_shell(image):
    assert not of(image, "RUN")


def test_exposed_ports_match_the_listen_variables(image):
    assert of(image, "EXPOSE") == ["8080 9090"]
    assert of(image, "ENV") == ["WARREN_LISTEN=0.0.0.0:8080 WARREN_ADMIN_LISTEN=0.0.0.0:9090"]


def test_base_images_are_arguments_with_a_version(arguments):
    assert [of(stage, "FROM") for stage in stages()] == [["${BUILD_BASE} AS build"], ["${RUNTIME_BASE}"]]
    assert arguments["BUILD_BASE"] == "rust:${RUST_VERSION}-slim-bookworm"
    assert re.fullmatch(r"[\w./-]*\d+:nonroot", arguments["RUNTIME_BASE"])


def test_versions_match_the_cargo_manifest(arguments):
    package = manifest()["workspace"]["package"]
    assert arguments["VERSION"] == package["version"]
    assert numbers(arguments["RUST_VERSION"]) >= numbers(package["rust-version"])


def manifest():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())


def members():
    """Directories of the workspace's packages, without the root."""
    patterns = [pattern for pattern in manifest()["workspace"]["members"] if pattern != "."]
    folders = [folder for pattern in patterns for folder in ROOT.glob(pattern)]
    return {folder.relative_to(ROOT) for folder in folders if (folder / "Cargo.toml").exists()}


def numbers(version):
    return [int(part) for part in version.split(".")]


def test_image_labels_match_the_cargo_manifest(image):
    package = manifest()["package"]
    (text,) = of(image, "LABEL")
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', text))
    assert labels == {
        "title": "Warren",
        "description": package["description"],
        "licenses": manifest()["workspace"]["package"]["license"],
        "version": "${VERSION}",
        "revision": "${REVISION}",
        "base.name": "${RUNTIME_BASE}",
    }


def admitted():
    """Paths that .dockerignore admits. It excludes everything first and then lists exceptions."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*" and all(rule.startswith("!") for rule in rules[1:]), rules
    return {rule[1:] for rule in rules[1:]}


def copied():
    """Sources that the build stage copies."""
    return [Path(name) for text in of(stages()[0], "COPY") for name in text.split()[:-1]]


def test_dockerignore_admits_exactly_the_copied_files():
    rules = {Path(rule) for rule in admitted()}
    used = {rule for rule in rules for path in copied() if path == rule or rule in path.parents}
    assert used == rules
    assert all(rules & {path, *path.parents} for path in copied())


def test_dependency_layer_has_the_manifest_of_every_package():
    manifests = {path.parent for path in copied() if path.name == "Cargo.toml"}
    assert manifests == members() | {Path(".")}


def test_dockerignore_admits_embedded_files():
    found = 0
    for source in [*ROOT.glob("src/**/*.rs"), *ROOT.glob("crates/*/src/**/*.rs")]:
        for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
            embedded = (source.parent / name).resolve().relative_to(ROOT)
            assert (ROOT / embedded).is_file() and embedded.parts[0] in admitted(), f"{source}: {name}"
            found += 1
    assert found


def test_stub_crates_have_every_target_of_their_manifests(tmp_path):
    """Cargo requires the files of all targets in a manifest, even of those that it does not build."""
    for folder in [Path("."), *members()]:
        text = (ROOT / folder / "Cargo.toml").read_text()
        text = re.sub(r"^\[(workspace\.|dev-)?dependencies\]\n(?!\[)(.*\n)*?(?=\[|\Z)", "", text, flags=re.MULTILINE)
        text = re.sub(r"^\[features\]\n(?!\[)(.*\n)*?(?=\[|\Z)", "", text, flags=re.MULTILINE)
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "Cargo.toml").write_text(text)
    environment = os.environ | {"CARGO_TARGET_DIR": str(tmp_path / "target"), "CARGO_NET_OFFLINE": "true"}
    (stub,) = [text for text in of(stages()[0], "RUN") if "touch" in text]
    # The lock file is copied there; without dependencies it is another one.
    stub = stub.replace("cargo build", "cargo generate-lockfile && cargo build")
    run = subprocess.run(["sh", "-ec", stub], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert not list((tmp_path / "target").rglob("libwarren*"))
