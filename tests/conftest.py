"""Fixtures for all tests. `OPENBLAS_NUM_THREADS` is set before numpy is imported, as the command line does."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are noisy: no example has a deadline. In CI the same examples are tried each time.
settings.register_profile(
    "streamcls", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("streamcls")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give daemons without a ``state_dir`` a folder of their own, and not the one of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of labelled audio that the environment variable STREAMCLS_DATA names; skips where it is not set."""
    folder = os.environ.get("STREAMCLS_DATA")
    if not folder:
        pytest.skip("STREAMCLS_DATA is not set: this test needs the labelled audio")
    return Path(folder)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


# What one environment cannot have at once is tested in another: TensorFlow, and tflite-runtime with numpy 1. Root may read and
# write every file, so that a refusal cannot be tried as root. And some rules of the contract suites are for sources that resume only.
_OTHER_ENVIRONMENT = ("TensorFlow", "tflite-runtime", "root may read", "root may write", "resumes is not true")
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note why a test was skipped."""
    if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2]
        if not any(word in reason for word in _OTHER_ENVIRONMENT):
            _skipped.append(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where STREAMCLS_REQUIRE_ALL is set and something was skipped that this environment should be able to run."""
    if _skipped and os.environ.get("STREAMCLS_REQUIRE_ALL"):
        print("\nSTREAMCLS_REQUIRE_ALL is set, but these were skipped:", *_skipped, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
