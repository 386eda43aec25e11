"""The versions of Rust in Cargo.toml, rust-toolchain.toml, the Dockerfile and README.md. Those of the containers:
test_workflows.py."""
import json
import re
import tomllib

import pytest


def numbers(version):
    return [int(part) for part in version.split(".")]


@pytest.fixture(scope="module")
def toolchain(root):
    return tomllib.loads((root / "rust-toolchain.toml").read_text())["toolchain"]


@pytest.fixture(scope="module")
def oldest(root):
    """The oldest version that builds Warren."""
    manifest = tomllib.loads((root / "Cargo.toml").read_text())
    version = manifest["package"]["rust-version"]
    return version if isinstance(version, str) else manifest["workspace"]["package"]["rust-version"]


def test_channel_is_a_full_version(toolchain):
    # rustup takes `1.95` and `1.95.0` for two toolchains, and would install the one beside the other.
    assert re.fullmatch(r"\d+\.\d+\.\d+", toolchain["channel"])


def test_checks_find_their_components(toolchain):
    assert {"clippy", "rustfmt"} <= set(toolchain["components"])


def test_channel_is_not_older_than_rust_version(toolchain, oldest):
    assert numbers(toolchain["channel"]) >= numbers(oldest)


def test_dockerfile_builds_with_the_channel(root, toolchain):
    (version,) = re.findall(r"^ARG RUST_VERSION=(\S+)$", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert numbers(toolchain["channel"])[:2] == numbers(version)


def test_readme_states_rust_version(root, oldest):
    (stated,) = set(re.findall(r"Rust (\d[\d.]*\d) or later", (root / "README.md").read_text()))
    assert stated == oldest
