"""scripts/setup without anything to install, and scripts/apt-get while another process holds a lock of apt."""
import contextlib
import fcntl
import os
import subprocess
import time

import pytest

# Locks of apt, below its directory, and a command that takes each.
LOCKS = {
    "state/lists/lock": ["update"],
    "state/lock-frontend": ["install"],
}


@pytest.fixture
def apt(root, tmp_path):
    """Starts scripts/apt-get with a configuration of apt that has its own directories and no sources."""
    for directory in ["cache/archives/partial", "etc", "state/lists/partial"]:
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "state/status").touch()
    options = {"Dir::Cache": tmp_path / "cache", "Dir::Etc": tmp_path / "etc", "Dir::State": tmp_path / "state",
               "Dir::State::status": tmp_path / "state/status", "APT::Sandbox::User": ""}
    config = tmp_path / "apt.conf"
    config.write_text("".join(f'{name} "{value}";\n' for name, value in options.items()))

    def start(arguments, timeout):
        environment = os.environ | {"APT_CONFIG": str(config), "APT_LOCK_TIMEOUT": str(timeout)}
        return subprocess.Popen([root / "scripts/apt-get", *arguments], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return start


@contextlib.contextmanager
def held(path):
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@pytest.mark.parametrize("lock", LOCKS)
def test_apt_get_waits_until_the_lock_is_free(apt, tmp_path, lock):
    with held(tmp_path / lock):
        process = apt(LOCKS[lock], timeout=60)
        line = process.stderr.readline()
    assert f"waiting up to 60 s for a lock: {tmp_path / lock}. It is held by process {os.getpid()}" in line
    _, rest = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")


@pytest.mark.parametrize("lock", LOCKS)
def test_apt_get_gives_up_after_its_timeout(apt, tmp_path, lock):
    with held(tmp_path / lock):
        process = apt(LOCKS[lock], timeout=1)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "still locked after" in errors and str(tmp_path / lock) in errors


def test_apt_get_does_not_wait_after_another_error(apt):
    started = time.monotonic()
    process = apt(["install", "no-such-package"], timeout=60)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 1 and time.monotonic() - started < 30
    assert "E: Unable to locate package no-such-package\n" in output and errors == ""


def test_setup_without_network_succeeds_when_everything_is_there(root):
    # Nothing listens at this address. apt, curl, npm and pip all use these variables.
    dead = "http://127.0.0.1:1"
    proxies = {name: dead for proxy in ["http_proxy", "https_proxy", "all_proxy"] for name in [proxy, proxy.upper()]}
    once = {"PIP_RETRIES": "0", "npm_config_fetch_retries": "0"}
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"} | proxies | once
    run = subprocess.run([root / "scripts/setup"], env=environment, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
