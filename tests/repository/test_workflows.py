"""The workflows of GitHub and the development container: pinned actions, least permissions, and the commands and versions
that developers use. actionlint checks the rest: `make interop`."""
import json
import re
import tomllib

import pytest
import yaml

# `on` is a boolean to YAML 1.1.
ON = True


def read(root):
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(root.glob(".github/workflows/*.yml"))}


@pytest.fixture(scope="module")
def workflows(root):
    return read(root)


@pytest.fixture(scope="module")
def jobs(workflows):
    return {f"{name}/{key}": job for name, workflow in workflows.items() for key, job in workflow["jobs"].items()}


@pytest.fixture(scope="module")
def steps(jobs):
    return [(name, step) for name, job in jobs.items() for step in job["steps"]]


def test_each_part_of_the_checks_has_a_workflow(workflows):
    assert list(workflows) == ["chart", "check", "docs", "image", "test"]
    assert all(workflow["name"] == name for name, workflow in workflows.items())


def test_workflows_run_on_main_and_on_pull_requests_that_cannot_write(workflows):
    for name, workflow in workflows.items():
        assert workflow[ON] == {"pull_request": None, "push": {"branches": ["main"]}}, name
        assert workflow["permissions"] == {"contents": "read"}, name


def test_a_newer_push_to_a_pull_request_ends_the_older_run(workflows):
    for name, workflow in workflows.items():
        assert workflow["concurrency"] == {
            "group": "${{ github.workflow }}-${{ github.ref }}",
            "cancel-in-progress": "${{ github.event_name == 'pull_request' }}"}, name


def test_jobs_have_a_timeout_and_no_permissions_of_their_own(jobs):
    for name, job in jobs.items():
        assert 0 < job["timeout-minutes"] <= 60 and "permissions" not in job, name


def test_actions_are_pinned_to_a_commit_and_name_its_version(root, steps):
    used = {step["uses"] for _, step in steps if "uses" in step}
    text = "".join(path.read_text() for path in root.glob(".github/workflows/*.yml"))
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action), action
        assert len(set(re.findall(rf"{action}( # v\d+\.\d+\.\d+)?\n", text)) - {""}) == 1, action


def test_checkout_leaves_no_credentials(steps):
    for name, step in steps:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False, name


def test_every_command_is_a_target_of_make(root, steps):
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    commands = {step["run"] for _, step in steps if "run" in step}
    for command in commands:
        make, target, *variables = command.split(" ", 2)
        assert make == "make" and target in targets, command
    assert {command.split()[1] for command in commands} >= {"check", "chart", "deny", "image", "interop", "site", "test"}


def test_containers_have_debian_12_and_the_pinned_rust(root, jobs):
    channel = tomllib.loads((root / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    container = json.loads((root / ".devcontainer/devcontainer.json").read_text())
    images = {name: job["container"] for name, job in jobs.items() if "container" in job}
    images = {name: image if isinstance(image, str) else image["image"] for name, image in images.items()}
    assert set(images) == {"chart/chart", "check/check", "docs/site", "test/test"}
    assert {container["image"], *images.values()} == {f"rust:{channel}-bookworm"}
