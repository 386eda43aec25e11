"""Changes that restart pods, and changes that do not."""
from chart import another_chart, component, parse, pod_templates, render, template


def pods(objects):
    """Templates of permanent pods, by component."""
    return {component(owner): pod for owner, pod in pod_templates(objects) if owner is not pod}


def test_new_chart_version_restarts_nothing(tmp_path):
    chart = another_chart(tmp_path, "0.1.1")
    assert pods(parse(template(chart=chart))) == pods(render())


def test_render_without_a_cluster_restarts_nothing():
    # Such a render generates a new password, which must not affect pod templates.
    first, second = parse(template()), parse(template())
    assert first.of("Secret") != second.of("Secret")
    assert pods(first) == pods(second)


def test_configuration_change_restarts_only_the_replicas():
    before, after = pods(render()), pods(render({"config": {"WARREN_LOG": "debug"}}))
    assert before["replica"]["metadata"]["annotations"] != after["replica"]["metadata"]["annotations"]
    assert before["rabbitmq"] == after["rabbitmq"]


def test_replica_count_change_restarts_nothing():
    assert pods(render({"replicas": 5})) == pods(render())


def test_rabbitmq_configuration_change_restarts_only_rabbitmq():
    values = {"rabbitmq": {"bundled": {"config": "heartbeat = 20"}}}
    before, after = pods(render()), pods(render(values))
    assert before["rabbitmq"] != after["rabbitmq"]
    assert before["replica"] == after["replica"]


def test_common_labels_change_restarts_pods():
    values = {"commonLabels": {"example.org/team": "chat"}}
    assert pods(render(values))["replica"] != pods(render())["replica"]


def found(part, key):
    """All values of a key, at any depth."""
    if isinstance(part, dict):
        for name, each in part.items():
            if name == key:
                yield each
            yield from found(each, key)
    elif isinstance(part, list):
        for each in part:
            yield from found(each, key)


def test_fields_compared_as_a_whole_include_api_defaults(objects):
    # Otherwise `kubectl apply --server-side` after `kubectl apply` is a conflict.
    for each in found(objects, "fieldRef"):
        assert each["apiVersion"] == "v1"
    for each in found(objects, "resourceFieldRef"):
        assert "divisor" in each
    for [claim] in found(objects, "volumeClaimTemplates"):
        assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
        assert claim["spec"]["volumeMode"] == "Filesystem" and claim["status"] == {"phase": "Pending"}
    for policy in objects.of("NetworkPolicy"):
        for ports in found(policy["spec"], "ports"):
            assert all("protocol" in port for port in ports)
