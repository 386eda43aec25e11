"""Names are short enough and differ between releases; labels identify the release."""
import re

import pytest

from chart import LONG, MATRIX, another_chart, component, parse, render, template, values_of

STANDARD = {
    "app.kubernetes.io/name": "warren",
    "app.kubernetes.io/instance": "warren",
    "app.kubernetes.io/managed-by": "Helm",
    "app.kubernetes.io/version": "0.1.0",
    "helm.sh/chart": "warren-0.1.0",
}
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# Length of the suffix of a StatefulSet's revision, whose name becomes a label.
REVISION = len("-0123456789")


@pytest.mark.parametrize("long", [
    {"release": LONG},
    {"values": {"fullnameOverride": "x" * 63}},
    {"values": {"nameOverride": "y" * 63}},
    # Truncated at a dash.
    {"values": {"fullnameOverride": "z-" * 31 + "z"}},
], ids=["release", "fullname", "name", "dashes"])
@pytest.mark.parametrize("of", ["default", "monitoring", "operator", "external"])
def test_long_names_are_truncated(long, of):
    objects = render({**values_of(of), **long.get("values", {})}, release=long.get("release", "warren"))
    names = objects.names()
    assert len(names) == len(set(names))
    for each in objects:
        name = each["metadata"]["name"]
        assert LABEL.fullmatch(name), name
        assert len(name) <= 63 - (REVISION if each["kind"] == "StatefulSet" else 0), name
        for value in each["metadata"]["labels"].values():
            assert len(value) <= 63, value


@pytest.mark.parametrize("one, two", [("chat", "news"), ("warren", "chat"), ("warren-a", "warren-b")])
def test_two_releases_share_a_namespace_without_conflict(one, two):
    for entry in ("default", "monitoring", "operator"):
        first, second = (set(render(MATRIX[entry], release=name).names()) for name in (one, two))
        assert not first & second


@pytest.mark.parametrize("release, name", [
    ("warren", "warren"), ("chat", "chat-warren"), ("our-warren", "our-warren")])
def test_objects_are_named_after_the_release(release, name):
    for each in render(MATRIX["monitoring"], release=release):
        own = each["metadata"]["name"]
        assert own == name or own.startswith(f"{name}-")
    assert render(release=release).one("Deployment")["metadata"]["name"] == name


def test_name_overrides_apply():
    assert render({"fullnameOverride": "burrow"}).one("Deployment")["metadata"]["name"] == "burrow"
    assert render({"nameOverride": "burrow"}).one("Deployment")["metadata"]["name"] == "warren-burrow"


def test_every_object_has_the_standard_labels(objects, entry):
    name = {"app.kubernetes.io/name": "burrow"} if entry == "extras" else {}
    for each in objects:
        labels = each["metadata"]["labels"]
        assert {**STANDARD, **name}.items() <= labels.items()
        assert component(each) in ("replica", "rabbitmq", "admin", "test")


def test_every_object_and_pod_has_the_common_labels():
    for entry in ("default", "monitoring", "operator", "keda", "ingress", "httproute"):
        objects = render({**values_of(entry), "commonLabels": {"example.org/team": "chat"}})
        for each in objects:
            assert each["metadata"]["labels"]["example.org/team"] == "chat", each["metadata"]["name"]
            if each["kind"] in ("Deployment", "StatefulSet"):
                pod = each["spec"]["template"]["metadata"]
                assert pod["labels"]["example.org/team"] == "chat", each["metadata"]["name"]


def test_common_labels_do_not_replace_standard_labels():
    labels = {**{name: "other" for name in STANDARD}, "app.kubernetes.io/component": "other"}
    with_own = render({"commonLabels": labels})
    test_every_object_has_the_standard_labels(with_own, "default")


def test_chart_version_with_build_is_a_valid_label(tmp_path):
    chart = another_chart(tmp_path, version="0.1.0+build.1")
    for each in parse(template(chart=chart)):
        assert each["metadata"]["labels"]["helm.sh/chart"] == "warren-0.1.0_build.1"
