"""Rendering of the chart, cached per Helm version, values and release."""
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
# The Kubernetes version that each Helm renders for: the oldest supported and the newest. The output must
# be the same.
KUBERNETES = {"helm3": "1.29.0", "helm4": "1.37.0"}
HELMS = list(KUBERNETES)
# The values files that tests run with, by name. `default` has no file and uses the chart's values.
MATRIX = {"default": None, **{path.stem: path for path in sorted(CHART.glob("ci/*.yaml"))}}
# The longest release name that Helm allows.
LONG = "a-release-whose-name-is-as-long-as-helm-lets-names-be"
assert len(LONG) == 53


def values_of(entry):
    """A copy of the values of a matrix entry, which callers may change."""
    return yaml.safe_load(MATRIX[entry].read_text()) if MATRIX[entry] else {}


def another_chart(directory, version):
    """A copy of the chart with another version."""
    chart = directory / "warren"
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^version: .*", f"version: {version}", about.read_text()))
    return chart


def run(*command, **options):
    return subprocess.run(list(map(str, command)), text=True, capture_output=True, **options)


def template(values=None, helm="helm3", release="warren", namespace="default", chart=CHART):
    """The result of `helm template`. `values` is a file or a dict."""
    command = [BIN / helm, "template", release, chart, "--namespace", namespace,
               "--kube-version", KUBERNETES[helm]]
    if isinstance(values, dict):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(values, file)
            file.flush()
            return run(*command, "--values", file.name)
    return run(*command, *(["--values", values] if values else []))


class Loader(yaml.CSafeLoader):
    """A loader that refuses duplicate keys: Helm and the API silently use one of them."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"duplicate key: {keys}"
        return super().construct_mapping(node, deep)


class Objects(list):
    """The objects of a release."""

    def of(self, *kinds):
        return Objects(each for each in self if each["kind"] in kinds)

    def one(self, kind, name=None):
        found = [each for each in self.of(kind) if name in (None, each["metadata"]["name"])]
        assert len(found) == 1, f"expected one {kind} {name or ''}, found {len(found)}"
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
    """The rendered objects. They are cached: do not change them."""
    key = json.dumps(values) if isinstance(values, dict) else str(values or "")
    return _render(key, helm, release, namespace)


def pod_templates(objects):
    """Pairs of an object that creates pods, and the pod template."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each, each
        elif each["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield each, each["spec"]["template"]
        elif each["kind"] == "CronJob":
            yield each, each["spec"]["jobTemplate"]["spec"]["template"]


def matches(selector, labels):
    """True if a selector without expressions, or a plain map of labels, matches the labels."""
    assert "matchExpressions" not in selector
    return selector.get("matchLabels", selector).items() <= labels.items()


def component(each):
    return each["metadata"]["labels"]["app.kubernetes.io/component"]
