"""What the replicas are told of where traces go, and which."""
from chart import render
from workloads import environment, replica

COLLECTOR = {"otlpEndpoint": "http://collector:4318"}


def variables(tracing, **values):
    _, container = replica(render({"tracing": tracing, **values}))
    return {name: value for name, value in environment(container).items() if name.startswith("OTEL_")}


def test_without_a_collector_there_are_none():
    assert variables({"sampleRatio": 1}) == {}


def test_one_message_in_a_hundred_unless_told_otherwise():
    assert variables(COLLECTOR) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=default,k8s.pod.name=$(WARREN_REPLICA)",
    }


def test_the_share_may_come_from_the_command_line():
    # Where Helm makes a string of what has a point.
    assert variables({**COLLECTOR, "sampleRatio": "0.5"})["OTEL_TRACES_SAMPLER_ARG"] == "0.5"


def test_the_sampler_can_be_another():
    sampler = {"name": "OTEL_TRACES_SAMPLER", "value": "always_off"}
    told = variables({**COLLECTOR, "sampleRatio": None}, extraEnv=[sampler])
    assert told["OTEL_TRACES_SAMPLER"] == "always_off" and "OTEL_TRACES_SAMPLER_ARG" not in told


def test_attributes_are_encoded_as_a_list_needs_it():
    said = variables({**COLLECTOR, "resourceAttributes": {"team": "a, b=$(c)"}})
    assert said["OTEL_RESOURCE_ATTRIBUTES"].endswith(",team=a%2C%20b%3D%24%28c%29")
