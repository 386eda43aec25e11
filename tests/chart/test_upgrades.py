"""What restarts pods, and what does not."""
from chart import another_chart, component, parse, pod_templates, render, template


def pods(objects):
    """What becomes a pod and stays, by component."""
    return {component(owner): pod for owner, pod in pod_templates(objects) if owner is not pod}


def test_another_chart_alone_restarts_nothing(tmp_path):
    chart = another_chart(tmp_path, "0.1.1")
    assert pods(parse(template(chart=chart))) == pods(render())


def test_nor_does_a_render_without_a_cluster():
    # The password is made anew then. What pods are made of must not hang on it.
    first, second = parse(template()), parse(template())
    assert first.of("Secret") != second.of("Secret")
    assert pods(first) == pods(second)


def test_configuration_restarts_the_replicas_alone():
    before, after = pods(render()), pods(render({"config": {"WARREN_LOG": "debug"}}))
    assert before["replica"]["metadata"]["annotations"] != after["replica"]["metadata"]["annotations"]
    assert before["rabbitmq"] == after["rabbitmq"]


def test_the_count_of_replicas_restarts_nothing():
    assert pods(render({"replicas": 5})) == pods(render())


def test_configuration_of_rabbitmq_restarts_rabbitmq_alone():
    values = {"rabbitmq": {"bundled": {"config": "heartbeat = 20"}}}
    before, after = pods(render()), pods(render(values))
    assert before["rabbitmq"] != after["rabbitmq"]
    assert before["replica"] == after["replica"]


def test_labels_of_everything_restart_what_they_are_on():
    values = {"commonLabels": {"example.org/team": "chat"}}
    assert pods(render(values))["replica"] != pods(render())["replica"]
