"""The arguments of `helm test` are valid for the program."""
import os
import pathlib
import subprocess

from chart import ROOT, render

# The program as built by `cargo test`.
WARREN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/warren"


def test_warren_accepts_the_arguments_of_the_helm_test():
    assert WARREN.exists(), f"{WARREN} is missing: cargo build"
    container, = render().one("Pod")["spec"]["containers"]
    command, target, *options = container["args"]
    assert target == "warren-admin:8080"
    # No replica answers: the exit code differs from that of invalid arguments.
    here = [WARREN, command, "127.0.0.1:9", *options, "--timeout=1s"]
    checked = subprocess.run(here, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (1, ""), checked.stderr
    assert "0 of 2 replicas answered" in checked.stderr
