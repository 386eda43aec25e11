"""Parametrization: a test with the fixture `entry`, or one derived from it, runs with each entry of the
matrix of values, or with those in `ENTRIES` of its file."""
import pytest

from chart import HELMS, MATRIX, pod_templates, render


def pytest_generate_tests(metafunc):
    if "entry" in metafunc.fixturenames:
        metafunc.parametrize("entry", getattr(metafunc.module, "ENTRIES", MATRIX))
    if "helm" in metafunc.fixturenames:
        metafunc.parametrize("helm", HELMS)


@pytest.fixture
def values(entry):
    return MATRIX[entry]


@pytest.fixture
def objects(values):
    """The objects that Helm 3 renders. Another test checks that Helm 4 renders the same."""
    return render(values)


@pytest.fixture
def pods(objects):
    return list(pod_templates(objects))


@pytest.fixture(scope="session")
def default():
    return render()
