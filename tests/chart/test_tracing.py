"""OpenTelemetry variables of the replicas."""
from chart import render
from workloads import environment, replica

COLLECTOR = {"otlpEndpoint": "http://collector:4318"}


def variables(tracing, **values):
    _, container = replica(render({"tracing": tracing, **values}))
    return {name: value for name, value in environment(container).items() if name.startswith("OTEL_")}


def test_no_otel_variables_without_a_collector():
    assert variables({"sampleRatio": 1}) == {}


def test_default_sampling_is_one_in_a_hundred():
    assert variables(COLLECTOR) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=default,k8s.pod.name=$(WARREN_REPLICA)",
    }


def test_sample_ratio_may_be_a_string():
    # Helm may turn decimal numbers into strings.
    assert variables({**COLLECTOR, "sampleRatio": "0.5"})["OTEL_TRACES_SAMPLER_ARG"] == "0.5"


def test_sampler_can_be_set_in_extra_env():
    sampler = {"name": "OTEL_TRACES_SAMPLER", "value": "always_off"}
    found = variables({**COLLECTOR, "sampleRatio": None}, extraEnv=[sampler])
    assert found["OTEL_TRACES_SAMPLER"] == "always_off" and "OTEL_TRACES_SAMPLER_ARG" not in found


def test_resource_attributes_are_percent_encoded():
    found = variables({**COLLECTOR, "resourceAttributes": {"team": "a, b=$(c)"}})
    assert found["OTEL_RESOURCE_ATTRIBUTES"].endswith(",team=a%2C%20b%3D%24%28c%29")
