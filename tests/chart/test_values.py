"""values.yaml, its schema, its comments and Warren's own documents agree."""
import json
import re

import jsonschema
import yaml

from chart import CHART, ROOT
from documents import OWNED, accepted, variables
from test_refused import levels, schema

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def resolved(part):
    return schema()["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def keys(part, path=""):
    """Paths of all keys of the schema."""
    for key, each in resolved(part).get("properties", {}).items():
        yield f"{path}{key}"
        yield from keys(each, f"{path}{key}.")


def documented(values, part, path=""):
    """Paths of all keys of the values that the schema defines."""
    for key, each in values.items():
        yield f"{path}{key}"
        below = resolved(resolved(part)["properties"][key])
        if isinstance(each, dict) and "properties" in below:
            yield from documented(each, below, f"{path}{key}.")


# A key of Helm's, and objects whose keys have no default.
WITHOUT_VALUE = {"global"}
OPEN = ("config.", "autoscaling.behavior.", "resources.", "rabbitmq.bundled.resources.",
        "rabbitmq.operator.resources.")


def test_schema_and_values_have_the_same_keys():
    of_schema = {key for key in keys(schema()) if not key.startswith(OPEN)} - WITHOUT_VALUE
    of_values = {key for key in documented(VALUES, schema()) if not key.startswith(OPEN)}
    assert of_schema == of_values


def test_every_schema_object_refuses_unknown_keys():
    for path in levels(schema()):
        part = schema()
        for key in path:
            part = resolved(resolved(part)["properties"][key])
        assert part["additionalProperties"] is False, path


def test_config_accepts_every_variable_not_set_by_the_chart():
    assert set(OWNED) < set(variables())
    allowed = schema()["properties"]["config"]["properties"]
    assert set(allowed) == set(variables()) - set(OWNED)


def config():
    """A validator for `config`."""
    whole = schema()
    return jsonschema.Draft7Validator({**whole["properties"]["config"], "definitions": whole["definitions"]})


def test_config_accepts_every_default():
    validator = config()
    # Variables whose documented default is a description.
    words = {"WARREN_ALLOWED_ORIGINS", "WARREN_LOG_FORMAT"}
    defaults = {name: value for name, value in variables().items() if name not in {*OWNED, *words}}
    assert [error.message for error in validator.iter_errors(defaults)] == []


DURATIONS = ["", "5", "s", "-1s", "1.5s", "5 s", "5S", "2d"]
# For each description of accepted values, valid and invalid examples, as in the tests of crates/config/.
ACCEPTED = {
    "a duration such as 250ms, 30s, 5m or 24h": (["250ms", "0s", "5m", "24h"], DURATIONS),
    "a duration of at least 10ms, such as 250ms, 30s or 5m":
        (["10ms", "250ms", "30s", "5m", "48h"], [*DURATIONS, "0s", "9ms", "0ms"]),
    "a duration of at most 1s, such as 0ms or 5ms":
        (["0ms", "5ms", "999ms", "1000ms", "0s", "1s"], [*DURATIONS, "2s", "1001ms", "1m", "1h"]),
    "a size such as 500B, 64KiB, 16MiB or 1GiB":
        (["0B", "500B", "64KiB", "16MiB", "1GiB"], ["", "64", "64KB", "64kib", "1.5MiB"]),
    "on, off, or a size such as 500B or 1KiB": (["on", "off", "500B", "1KiB"], ["", "On", "yes", "1024"]),
    "a rate above zero such as 50/s or 30/m": (["50/s", "30/m"], ["", "50", "0/s", "50/h"]),
    "a whole number": (["0", "20000"], ["", "-1", "1.5", "many"]),
    "log or live": (["log", "live"], ["", "Log", "queue"]),
    "text or json": (["text", "json"], ["", "JSON"]),
    "an exchange name of 1 to 127 bytes that does not begin with amq.":
        (["messages", "amq", "x" * 127], ["", "amq.fanout", "x" * 128]),
    "* or origins such as https://example.org, separated by commas":
        (["*", "https://example.org,https://example.com"], []),
    "error, warn, info, debug, trace or off, or directives such as info,warren::client_closed=off":
        (["info", "info,warren::client_closed=off"], []),
}


def test_config_accepts_what_warren_accepts():
    validator = config()
    for name in set(variables()) - set(OWNED):
        good, bad = ACCEPTED[accepted()[name]]
        if name == "WARREN_PUBLISH_TIMEOUT":
            # Limited by the drain.
            good = ["10ms", "9999ms", "1s", "15s"]
            bad = [*bad, "16s", "1m", "1h", "10000ms"]
        for value in good:
            assert validator.is_valid({name: value}), (name, value)
        for value in bad:
            assert not validator.is_valid({name: value}), (name, value)


def test_values_comments_name_the_refused_variables():
    text = " ".join((CHART / "values.yaml").read_text().replace("#", " ").split())
    for name in OWNED:
        assert name in text


def test_app_version_matches_the_crate():
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    crate = re.search(r'(?m)^version = "(.*)"', (ROOT / "Cargo.toml").read_text())
    assert about["appVersion"] == crate[1]


def test_schema_is_valid_and_formatted():
    jsonschema.Draft7Validator.check_schema(schema())
    text = (CHART / "values.schema.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
