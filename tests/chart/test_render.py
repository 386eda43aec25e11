"""Both Helm versions accept the chart and render the same."""
import copy

from chart import BIN, CHART, HELMS, render, run


def test_helm_lint_reports_nothing(values, helm):
    done = run(BIN / helm, "lint", "--strict", CHART, *(["--values", values] if values else []))
    assert done.returncode == 0, done.stdout + done.stderr


def without_generated(objects):
    """Generated values differ each time, so only their presence is compared."""
    objects = copy.deepcopy(objects)
    for secret in objects.of("Secret"):
        for data in ("data", "stringData"):
            secret[data] = {key: bool(value) for key, value in secret.get(data, {}).items()}
    return objects


def test_both_helm_versions_render_the_same(values):
    three, four = (without_generated(render(values, helm)) for helm in HELMS)
    order = lambda each: (each["kind"], each["metadata"]["name"])
    assert sorted(three, key=order) == sorted(four, key=order)
