"""Renders the chart, once for each Helm, each set of values and each release."""
import functools
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/warren"
BIN = ROOT / ".cache/bin"
# Each Helm with a Kubernetes: the oldest one that is supported, and the newest. What they render is
# to be the same.
KUBERNETES = {"helm3": "1.29.0", "helm4": "1.37.0"}
HELMS = list(KUBERNETES)
# The values that everything is tried with, by name. Without a file: the chart's own.
MATRIX = {"default": None, **{path.stem: path for path in sorted(CHART.glob("ci/*.yaml"))}}
# As long as Helm allows.
LONG = "a-release-whose-name-is-as-long-as-helm-lets-names-be"
assert len(LONG) == 53


def values_of(entry):
    """An entry of the matrix, to be changed."""
    return yaml.safe_load(MATRIX[entry].read_text()) if MATRIX[entry] else {}


def another_chart(directory, version):
    """A copy of the chart that has another version."""
    chart = directory / "warren"
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^version: .*", f"version: {version}", about.read_text()))
    return chart


def run(*command, **options):
    return subprocess.run(list(map(str, command)), text=True, capture_output=True, **options)


def template(values=None, helm="helm3", release="warren", namespace="default", chart=CHART):
    """What `helm template` says. `values` are a file or a dict."""
    command = [BIN / helm, "template", release, chart, "--namespace", namespace,
               "--kube-version", KUBERNETES[helm]]
    if isinstance(values, dict):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(values, file)
            file.flush()
            return run(*command, "--values", file.name)
    return run(*command, *(["--values", values] if values else []))


class Loader(yaml.CSafeLoader):
    """Takes no key twice: Helm and the API would take one of the two without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice: {keys}"
        return super().construct_mapping(node, deep)


class Objects(list):
    """The objects of a release."""

    def of(self, *kinds):
        return Objects(each for each in self if each["kind"] in kinds)

    def one(self, kind, name=None):
        found = [each for each in self.of(kind) if name in (None, each["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} of {kind} {name or ''}, not one"
        return found[0]

    def names(self):
        return sorted(f"{each['kind']}/{each['metadata']['name']}" for each in self)


def parse(done):
    assert done.returncode == 0, done.stderr
    return Objects(each for each in yaml.load_all(done.stdout, Loader) if each)


@functools.cache
def _render(values, helm, release, namespace):
    values = json.loads(values) if values.startswith("{") else values
    return parse(template(values, helm, release, namespace))


def render(values=None, helm="helm3", release="warren", namespace="default"):
    """The objects; not to be changed, since others get the same ones."""
    key = json.dumps(values) if isinstance(values, dict) else str(values or "")
    return _render(key, helm, release, namespace)


def pod_templates(objects):
    """Everything that becomes a pod: what makes it, and its metadata and spec."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each, each
        elif each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield each, each["spec"]["template"]
        elif each["kind"] == "CronJob":
            yield each, each["spec"]["jobTemplate"]["spec"]["template"]


def matches(selector, labels):
    """Whether labels are what a selector asks for: one without expressions, or nothing but labels."""
    assert "matchExpressions" not in selector
    return selector.get("matchLabels", selector).items() <= labels.items()


def component(each):
    return each["metadata"]["labels"]["app.kubernetes.io/component"]
