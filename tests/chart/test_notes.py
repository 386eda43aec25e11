"""The notes after an installation match the installed objects."""
import re

import pytest

from chart import BIN, CHART, MATRIX, render, run


def notes(values, release="warren", namespace="rooms"):
    # Helm 3 needs a cluster to show notes.
    done = run(BIN / "helm4", "install", release, CHART, "--dry-run=client", "--namespace", namespace,
               *(["--values", values] if values else []))
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


@pytest.mark.parametrize("release", ["warren", "chat"])
def test_notes_name_existing_objects(values, release):
    text = notes(values, release)
    objects = render(values, release=release)
    names = [name.lower() for name in objects.names()]
    named = re.findall(r" (service|deployment|secret|rabbitmqcluster)[/ ](?:-n rooms )?([-\w]+)", text)
    assert ("deployment", objects.one("Deployment")["metadata"]["name"]) in named
    # An existing Secret is not part of the release.
    own = ("secret", "rabbitmq")
    assert [each for each in named if each != own and "/".join(each) not in names] == []
    for line in text.splitlines():
        if line.startswith("  kubectl"):
            assert " -n rooms" in line


def test_notes_show_how_to_connect_scale_and_inspect():
    text = notes(None)
    assert "kubectl port-forward -n rooms service/warren 8080:80" in text
    assert "kubectl scale -n rooms deployment/warren --replicas=" in text
    assert "helm test -n rooms warren" in text


@pytest.mark.parametrize("entry_of, present, absent", [
    ("ingress", ["https://chat.example.org/"], ["port-forward -n rooms service/warren "]),
    ("httproute", ["https://chat.example.org/"], []),
    ("loadbalancer", ["kubectl get service -n rooms warren"], []),
    ("autoscaling", ["from 2 to 40 replicas"], ["kubectl scale"]),
    ("minimal", ["leaves nothing behind"], ["helm test", "kubectl delete"]),
    ("existing-secret", ["data-warren-rabbitmq-0"], ["delete secret"]),
    ("operator", ["kubectl delete rabbitmqcluster -n rooms warren-rabbitmq"], ["kubectl delete secret"]),
    ("external", ["leaves nothing behind"], []),
])
def test_notes_depend_on_the_values(entry_of, present, absent):
    text = notes(MATRIX[entry_of])
    assert all(words in text for words in present), text
    assert not any(words in text for words in absent), text


def test_notes_list_what_an_uninstallation_keeps():
    text = notes(None)
    kept = [each["metadata"]["name"] for each in render() if each["metadata"].get("annotations", {}).get(
        "helm.sh/resource-policy") == "keep"]
    assert kept == ["warren-rabbitmq"]
    assert "kubectl delete secret -n rooms warren-rabbitmq" in text
    stateful = render().one("StatefulSet")
    claim = stateful["spec"]["volumeClaimTemplates"][0]["metadata"]
    assert f"{claim['name']}-{stateful['metadata']['name']}-0" in text
    [selector] = re.findall(r"kubectl delete pvc -n rooms -l (\S+)", text)
    assert dict(each.split("=") for each in selector.split(",")).items() <= claim["labels"].items()
