"""The pods of a release."""
from chart import component, pod_templates


def workloads(objects):
    """Pod labels by component, including pods that the RabbitMQ operator creates."""
    found = {}
    for _, pod in pod_templates(objects):
        assert component(pod) not in found
        found[component(pod)] = pod["metadata"]["labels"]
    for cluster in objects.of("RabbitmqCluster"):
        found["rabbitmq"] = {
            "app.kubernetes.io/name": cluster["metadata"]["name"],
            "app.kubernetes.io/component": "rabbitmq",
            "app.kubernetes.io/part-of": "rabbitmq",
        }
    return found


def replica(objects):
    """The pod spec of the replicas, and its only container."""
    [(_, pod)] = [each for each in pod_templates(objects.of("Deployment"))]
    [container] = pod["spec"]["containers"]
    return pod["spec"], container


def environment(container):
    return {each["name"]: each.get("value") for each in container["env"]}


def ports(objects):
    """Port numbers by name, by component."""
    found = {
        component(pod): {port["name"]: port["containerPort"]
                         for container in pod["spec"]["containers"]
                         for port in container.get("ports", [])}
        for _, pod in pod_templates(objects)
    }
    for cluster in objects.of("RabbitmqCluster"):
        found["rabbitmq"] = {"epmd": 4369, "amqp": 5672, "management": 15672, "prometheus": 15692,
                             "clustering": 25672}
    return found
