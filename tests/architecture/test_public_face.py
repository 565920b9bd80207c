"""What ``import streamcls`` gives plugin authors, and what it costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import streamcls

HEAVY = {
    "numpy",
    "pydantic",
    "pluggy",
    "click",
    "zmq",
    "soxr",
    "av",
    "sounddevice",
    "ai_edge_litert",
    "tensorflow",
    "pytest",
}


def _child(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout


def _loaded_by(statement: str) -> set[str]:
    return set(
        json.loads(
            _child(
                f"{statement}\nimport json, sys\nprint(json.dumps([name for name in sys.modules if '.' not in name]))"
            )
        )
    )


def test_importing_it_loads_nothing_heavy() -> None:
    assert not _loaded_by("import streamcls") & HEAVY


def test_asking_for_its_names_or_version_loads_nothing_heavy() -> None:
    assert not _loaded_by("import streamcls; dir(streamcls); streamcls.__version__; streamcls.__all__") & HEAVY


def test_errors_are_had_without_numpy() -> None:
    assert not _loaded_by("from streamcls import SourceError, RetryableSourceError") & {"numpy", "zmq"}


@pytest.mark.parametrize("name", streamcls.__all__)
def test_every_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(streamcls, name)
    if name == "__version__":
        assert value[0].isdigit()
        return
    text = (value.__doc__ if isinstance(value, type) else inspect.getdoc(value)) or ""
    assert text, "it has no docstring"
    assert not text.startswith(f"{name}("), "its docstring is the one that dataclass makes"


def test_names_are_listed_in_order_and_once() -> None:
    assert len(set(streamcls.__all__)) == len(streamcls.__all__)
    assert dir(streamcls) == sorted(streamcls.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'streamcls' has no attribute 'nonsense'"):
        _ = streamcls.nonsense


def test_the_fakes_for_plugin_authors_work_without_pytest() -> None:
    """A suite can be run by hand, in an environment that has no pytest."""
    code = """
import sys
sys.modules["pytest"] = sys.modules["_pytest"] = None
import streamcls
from streamcls.testing import SubscriberContract
class Quiet:
    name = "quiet"
    Config = streamcls.ComponentConfig
    def __init__(self, config): pass
    def handle(self, event): assert event["id"]
    def close(self): pass
class TestQuiet(SubscriberContract):
    component = Quiet
suite = TestQuiet()
suite.setup_method()
suite.test_it_takes_every_kind_of_event()
suite.teardown_method()
print("done")
"""
    assert _child(code) == "done\n"
