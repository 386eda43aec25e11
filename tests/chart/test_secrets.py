"""Secret values appear only in Secrets."""
import base64
import json
import re

from chart import MATRIX, pod_templates, render

# Names of variables that must not have a literal value.
SECRET = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|COOKIE|CREDENTIAL|_KEY$")
# A URL with a literal password.
URL = re.compile(r"\w+://[^:/@\s]*:(?!\$\()[^@/\s]+@")


def variables(pods):
    for _, pod in pods:
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield from container.get("env", [])


def test_no_variable_contains_a_secret(pods):
    for each in variables(pods):
        if SECRET.search(each["name"]):
            assert "secretKeyRef" in each["valueFrom"], each["name"]
        assert not URL.search(each.get("value", "")), each["name"]


def test_rabbitmq_url_contains_no_secret(objects):
    [(_, pod)] = pod_templates(objects.of("Deployment"))
    found = {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}
    url = found["WARREN_AMQP_URL"]
    if "value" in url:
        referred = re.findall(r"\$\((\w+)\)", url["value"])
        assert referred
        for name in referred:
            # Kubernetes expands only variables that are defined earlier.
            assert list(found).index(name) < list(found).index("WARREN_AMQP_URL")
            assert "secretKeyRef" in found[name]["valueFrom"]
    else:
        assert "secretKeyRef" in url["valueFrom"]


def test_generated_secrets_appear_only_in_the_secret():
    objects = render()
    [secret] = objects.of("Secret")
    values = [base64.b64decode(value).decode() for value in secret["data"].values()]
    assert len(values) == len(set(values)) == 2
    rest = json.dumps([each for each in objects if each is not secret])
    for value in values:
        assert re.fullmatch(r"[A-Za-z0-9]{32,}", value)
        assert value not in rest
        assert base64.b64encode(value.encode()).decode() not in rest


def test_existing_secrets_are_referenced():
    objects = render(MATRIX["existing-secret"])
    assert not objects.of("Secret")
    for kind in ("Deployment", "StatefulSet"):
        assert '"rabbitmq"' in json.dumps(objects.one(kind)["spec"]["template"]["spec"])
    [url] = [each for each in variables(pod_templates(render(MATRIX["external"])))
             if each["name"] == "WARREN_AMQP_URL"]
    assert url["valueFrom"] == {"secretKeyRef": {"name": "rabbitmq-url", "key": "amqp"}}


def test_private_ca_is_mounted():
    [(_, pod)] = pod_templates(render(MATRIX["external"]).of("Deployment"))
    [volume] = pod["spec"]["volumes"]
    assert volume["secret"] == {"secretName": "rabbitmq-ca", "items": [{"key": "ca.pem", "path": "ca.crt"}]}
    [container] = pod["spec"]["containers"]
    [mount] = container["volumeMounts"]
    [variable] = [each for each in container["env"] if each["name"] == "SSL_CERT_FILE"]
    assert mount["name"] == volume["name"] and mount["readOnly"] is True
    assert variable["value"] == f"{mount['mountPath']}/ca.crt"


def test_replicas_use_the_operators_default_user():
    [url] = [each for each in variables(pod_templates(render(MATRIX["operator"]).of("Deployment")))
             if each["name"] == "WARREN_AMQP_URL"]
    assert url["valueFrom"] == {
        "secretKeyRef": {"name": "warren-rabbitmq-default-user", "key": "connection_string"}}
