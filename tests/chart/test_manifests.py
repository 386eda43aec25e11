"""The plain manifests equal the rendered chart without Helm's own metadata."""
import copy
import re
import sys

import pytest
import yaml

from chart import BIN, ROOT, Loader, Objects, render, run
from documents import variables
from schemas import NEWEST, OLDEST, errors
from units import seconds, size

K8S = ROOT / "k8s"
NAMESPACE = "warren"
OF_HELM = ("helm.sh/", "app.kubernetes.io/managed-by")


def kustomize(path):
    done = run(BIN / "kubectl", "kustomize", ROOT / path)
    assert done.returncode == 0, done.stderr
    return Objects(yaml.load_all(done.stdout, Loader))


def values(*paths):
    """Merged values files; later files override earlier ones, as in Helm."""
    def over(old, new):
        return {**old, **{key: over(old[key], value) if isinstance(old.get(key), dict) and value else value
                          for key, value in new.items()}}

    merged = {}
    for path in paths:
        merged = over(merged, yaml.safe_load((K8S / path).read_text()))
    return merged


BASE = values("values.yaml")
OPERATOR = values("values.yaml", "overlays/operator/values.yaml")


@pytest.fixture(scope="module", params=[("k8s", BASE), ("k8s/overlays/operator", OPERATOR)],
                ids=["base", "operator"])
def both(request):
    """The objects from the manifests, and from the chart with the same values."""
    path, values = request.param
    return kustomize(path), render(values, namespace=NAMESPACE)


def without_helms_own(objects):
    objects = copy.deepcopy(objects)
    for each in objects:
        each["metadata"]["namespace"] = NAMESPACE
        for kind in ("labels", "annotations"):
            kept = {key: value for key, value in each["metadata"].pop(kind, {}).items()
                    if not key.startswith(OF_HELM)}
            if kept:
                each["metadata"][kind] = kept
    return sorted(objects, key=lambda each: (each["kind"], each["metadata"]["name"]))


def test_manifests_equal_the_rendered_chart(both):
    manifests, rendered = both
    assert without_helms_own(rendered) == sorted(
        manifests, key=lambda each: (each["kind"], each["metadata"]["name"]))


def test_manifests_contain_nothing_of_helm(both):
    manifests, _ = both
    text = yaml.safe_dump(list(manifests))
    assert "helm.sh" not in text and "Helm" not in text
    # Nor objects that only Helm handles.
    assert not manifests.of("Pod", "Secret")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_are_valid(both, version):
    assert [error for each in both[0] for error in errors(each, version)] == []


def test_manifest_files_are_up_to_date(tmp_path):
    done = run(sys.executable, ROOT / "scripts/manifests", tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.yaml")}
    by_hand = {K8S / "values.yaml", K8S / "kustomization.yaml", K8S / "overlays/operator/values.yaml"}
    there = {path.relative_to(K8S): path.read_text() for path in K8S.rglob("*.yaml")
             if path not in by_hand}
    assert made == there, "make manifests"


def test_operator_declares_the_same_topology_as_warren():
    # Otherwise Warren finds a topology that differs from its own, and logs a warning at each connection.
    objects = kustomize("k8s/overlays/operator")
    defaults = variables()
    exchange = objects.one("Exchange")["spec"]
    assert (exchange["name"], exchange["type"], exchange["durable"]) == (
        defaults["WARREN_EXCHANGE"], "fanout", True)
    queue = objects.one("Queue")["spec"]
    assert (queue["name"], queue["type"], queue["durable"]) == (f"{exchange['name']}.log", "stream", True)
    assert not queue.get("autoDelete") and not exchange.get("autoDelete")
    assert queue["arguments"] == arguments(defaults)
    binding = objects.one("Binding")["spec"]
    assert (binding["source"], binding["destination"], binding["destinationType"]) == (
        exchange["name"], queue["name"], "queue")
    assert not binding.get("routingKey")
    cluster = objects.one("RabbitmqCluster")["metadata"]["name"]
    for each in (exchange, queue, binding):
        assert each["rabbitmqClusterReference"] == {"name": cluster}


def arguments(given):
    """The stream arguments of crates/broker/src/rabbitmq/topology.rs, without x-queue-type, which the
    operator adds."""
    source = (ROOT / "crates/broker/src/rabbitmq/topology.rs").read_text()
    assert set(re.findall(r'argument\("(x-[-a-z]+)"', source)) == {
        "x-queue-type", "x-max-age", "x-max-length-bytes", "x-stream-max-segment-size-bytes"}
    least, least_shift, most, most_shift = map(int, re.search(
        r"SEGMENT: \[i64; 2\] = \[(\d+) << (\d+), (\d+) << (\d+)\]", source).groups())
    parts = int(re.search(r"SEGMENTS: i64 = (\d+)", source)[1])
    limit = int(size(given["WARREN_LOG_MAX_BYTES"]))
    return {
        "x-max-age": f"{int(seconds(given['WARREN_LOG_MAX_AGE']))}s",
        "x-max-length-bytes": limit,
        "x-stream-max-segment-size-bytes":
            min(max(limit // parts, least << least_shift), most << most_shift),
    }


def test_readme_names_the_required_secret():
    page = (K8S / "README.md").read_text()
    secret = BASE["rabbitmq"]["bundled"]["auth"]["existingSecret"]
    assert f"kubectl create secret generic {secret} --namespace {NAMESPACE}" in page
    asked = re.findall(r"secretKeyRef.*?'key': '(\S+?)'|'items': \[{'key': '(\S+?)'",
                       str(list(kustomize("k8s"))))
    keys = {one or two for one, two in asked}
    assert keys == {"password", "erlang-cookie"}
    for key in keys:
        assert f"--from-literal={key}=" in page
