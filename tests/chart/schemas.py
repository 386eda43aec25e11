"""Schemas of the Kubernetes API, by release, and of the custom resources that the chart uses."""
import functools
import json
import pathlib

import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

OLDEST, NEWEST = "1.29.0", "1.37.0"
SCHEMAS = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
ANY, TEXT, NUMBER, LIST = {}, {"type": "string", "minLength": 1}, {"type": "integer"}, {"type": "array"}
SELECTOR = {"type": "object", "properties": {"matchLabels": STRINGS}, "required": ["matchLabels"],
            "additionalProperties": False}


def exactly(optional=None, **required):
    """The schema of an object with exactly these members."""
    return {"type": "object", "properties": {**required, **(optional or {})},
            "required": list(required), "additionalProperties": False}


def several(items):
    return {"type": "array", "items": items, "minItems": 1}


def const(*values):
    return {"enum": list(values)}


SCRAPE = exactly(port=TEXT, path=TEXT, interval=TEXT)
ALERT = exactly({"for": TEXT, "keep_firing_for": TEXT}, alert=TEXT, expr=TEXT, labels=STRINGS,
                annotations=STRINGS)
RECORD = exactly({"labels": STRINGS}, record=TEXT, expr=TEXT)
RABBITMQ = exactly(name=TEXT)

# The specs of custom resources, restricted to the fields that the chart sets.
CUSTOM = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"):
        exactly({"namespaceSelector": ANY}, selector=SELECTOR, endpoints=several(SCRAPE)),
    ("monitoring.coreos.com/v1", "PodMonitor"):
        exactly({"namespaceSelector": ANY}, selector=SELECTOR, podMetricsEndpoints=several(SCRAPE)),
    ("monitoring.coreos.com/v1", "PrometheusRule"):
        exactly(groups=several(exactly({"interval": TEXT}, name=TEXT,
                                       rules=several({"anyOf": [ALERT, RECORD]})))),
    ("keda.sh/v1alpha1", "ScaledObject"):
        exactly(scaleTargetRef=exactly(name=TEXT), minReplicaCount=NUMBER, maxReplicaCount=NUMBER,
                pollingInterval=NUMBER, advanced=ANY,
                triggers=several(exactly(type=const("cpu", "prometheus"), metadata=STRINGS,
                                         metricType=const("Utilization", "AverageValue")))),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"):
        exactly({"hostnames": several(TEXT)},
                parentRefs=several({"type": "object", "required": ["name"]}),
                rules=several(exactly(matches=LIST, timeouts=STRINGS,
                                      backendRefs=several(exactly(name=TEXT, port=NUMBER))))),
    ("rabbitmq.com/v1beta1", "RabbitmqCluster"):
        exactly({key: ANY for key in ("image", "imagePullSecrets", "tolerations", "affinity", "tls",
                                      "override", "skipPostDeploySteps")},
                replicas=NUMBER, persistence=exactly({"storageClassName": TEXT}, storage=TEXT),
                resources=ANY, terminationGracePeriodSeconds=NUMBER,
                service=exactly({"annotations": STRINGS}, type=TEXT),
                rabbitmq=exactly({"additionalPlugins": several(TEXT)}, additionalConfig=TEXT)),
    ("rabbitmq.com/v1beta1", "Exchange"):
        exactly({"deletionPolicy": const("delete", "retain")}, name=TEXT, durable=const(True),
                type=const("fanout"), rabbitmqClusterReference=RABBITMQ),
    ("rabbitmq.com/v1beta1", "Queue"):
        exactly({"deletionPolicy": const("delete", "retain")}, name=TEXT, durable=const(True),
                type=const("stream"), arguments=ANY, rabbitmqClusterReference=RABBITMQ),
    ("rabbitmq.com/v1beta1", "Binding"):
        exactly({"deletionPolicy": const("delete", "retain")}, source=TEXT, destination=TEXT,
                destinationType=const("queue"), rabbitmqClusterReference=RABBITMQ),
}


@functools.cache
def of_kubernetes(version):
    """The schemas of a release by apiVersion and kind, and the registry of their definitions."""
    directory = SCHEMAS / f"v{version}-local-strict"
    definitions = json.loads((directory / "_definitions.json").read_text())
    schemas = {}
    for name, schema in definitions["$defs"].items():
        for of in schema.get("x-kubernetes-group-version-kind", []):
            api = "/".join(filter(None, (of["group"], of["version"])))
            schemas[api, of["kind"]] = {"$ref": f"{definitions['$id']}#/$defs/{name}"}
    return schemas, Resource.from_contents(definitions) @ Registry()


@functools.cache
def validator(api, kind, version):
    meta = of_kubernetes(version)[1]
    if spec := CUSTOM.get((api, kind)):
        metadata = exactly({"namespace": TEXT, "annotations": STRINGS}, name=TEXT, labels=STRINGS)
        return jsonschema.Draft202012Validator(
            exactly(apiVersion=TEXT, kind=TEXT, metadata=metadata, spec=spec))
    schemas, registry = of_kubernetes(version)
    schema = schemas.get((api, kind))
    return schema and jsonschema.Draft202012Validator(schema, registry=registry)


def errors(document, version):
    """The schema violations of a document."""
    api, kind = document.get("apiVersion"), document.get("kind")
    found = validator(api, kind, version)
    if not found:
        return [f"Kubernetes {version} knows no {kind} of {api}"]
    name = document.get("metadata", {}).get("name")
    wrong = [f"{error.json_path}: {error.message}" for error in found.iter_errors(document)]
    wrong += [f"{path}: no value" for path in without_value(document)]
    return [f"{kind}/{name} {each}" for each in wrong]


def without_value(part, path="$"):
    """The paths of members without a value. The API silently drops them."""
    if part is None:
        yield path
    elif isinstance(part, (dict, list)):
        for key, each in part.items() if isinstance(part, dict) else enumerate(part):
            yield from without_value(each, f"{path}.{key}")
