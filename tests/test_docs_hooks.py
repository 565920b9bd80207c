"""``docs/writing-a-plugin.md`` is complete, and what it shows works."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import tomllib
import unittest
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from streamcls import errors, hookspecs
from streamcls.config import parse_config
from streamcls.inference import load_bundle
from streamcls.plugins import discover
from streamcls.testing import BackendContract, ComponentContract, example_envelopes

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.inference import Bundle

HOOKS = [name for name, value in vars(hookspecs).items() if callable(value) and hasattr(value, "streamcls_spec")]
PAGE = "docs/writing-a-plugin.md"


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / PAGE).read_text(encoding="utf-8")


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def _mean_bundle(folder: Path) -> Bundle:
    files = {"model.tflite": b"mean", "labels.txt": b"one\ntwo\n"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = "".join(f'"{name}" = "{hashlib.sha256(content).hexdigest()}"\n' for name, content in files.items())
    (folder / "bundle.toml").write_text(
        'format = 1\nname = "mean"\nversion = "1"\ntask = "test"\n'
        '[model]\ninput_shape = [1, 8, 4]\nquantisation = "float32"\n'
        "[front_end]\nn_mels = 20\nn_mfcc = 4\n"
        "[window]\nn_frames = 8\nstride_frames = 4\n"
        '[calibration]\nactivation = "softmax"\n'
        f"[files]\n{sums}"
    )
    return load_bundle(folder)


@pytest.fixture(scope="module")
def names(page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All Python blocks of the page, executed in order as one module."""
    bundle = _mean_bundle(tmp_path_factory.mktemp("mean"))
    module: dict[str, Any] = {"__name__": "writing_a_plugin", "__file__": PAGE, "mean_bundle": lambda: bundle}
    for block in _blocks(page, "python"):
        exec(compile(block, PAGE, "exec", dont_inherit=True), module)  # noqa: S102 - our own documentation
    return module


def test_there_are_hooks() -> None:
    assert len(HOOKS) >= 6


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_heading(page: str, hook: str) -> None:
    assert f"\n### {hook}\n" in page


def test_no_heading_is_of_a_hook_that_is_gone(page: str) -> None:
    assert re.findall(r"^### (register_\w+)$", page, re.MULTILINE) == HOOKS, (
        "and they stand in the order of the contract"
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_where_it_is_declared(hook: str) -> None:
    assert inspect.getdoc(getattr(hookspecs, hook))


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(root: Path, hook: str) -> None:
    """The sample distribution implements it, and a test looks at what became of that."""
    sample = "".join(
        path.read_text(encoding="utf-8") for path in (root / "tests/sample_plugin/streamcls_sample").glob("*.py")
    )
    assert re.search(rf"@\S*hookimpl\ndef {hook}\(", sample)
    assert hook in (root / "tests/test_plugins_discovery.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_shown(names: dict[str, Any], hook: str) -> None:
    assert hasattr(names[hook], "streamcls_impl")


def test_the_examples_are_a_plugin(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """All blocks as one installed module: every component is accepted."""
    (tmp_path / "from_the_docs.py").write_text(
        "mean_bundle = None\n" + "\n".join(_blocks(page, "python")), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from importlib.metadata import EntryPoint

    registry = discover([EntryPoint("docs", "from_the_docs", "streamcls")])
    (record,) = registry.records
    assert record.reason == ""
    assert [(item.kind, item.name) for item in record.provides] == [
        ("source", "pulse"),
        ("backend", "mean"),
        ("policy", "alarm"),
        ("subscriber", "printer"),
        ("models", "/usr/share/my-plugin/models"),
    ]
    group = click.Group()
    registry.add_commands(group)
    assert CliRunner().invoke(group, ["tune", "kiosk"]).output == '{"station": "kiosk"}\n'


def test_the_suites_of_the_examples_pass(names: dict[str, Any]) -> None:
    suites = [
        value
        for value in names.values()
        if isinstance(value, type)
        and issubclass(value, (ComponentContract, BackendContract))
        and value.__name__.startswith("Test")
    ]
    ran = 0
    for suite in suites:
        for rule in [name for name in dir(suite) if name.startswith("test_")]:
            one = suite()
            getattr(one, "setup_method", lambda: None)()
            try:
                getattr(one, rule)()
                ran += 1
            except unittest.SkipTest:
                pass
            finally:
                getattr(one, "teardown_method", lambda: None)()
    assert len(suites) == 5
    assert ran > 50


def test_the_first_example_does_what_the_page_says(page: str, tmp_path: Path) -> None:
    module: dict[str, Any] = {}
    exec(compile(_blocks(page, "python")[0], PAGE, "exec", dont_inherit=True), module)  # noqa: S102
    (component,) = module["register_subscribers"]()
    tally = component(component.Config(path=tmp_path / "tally.json"))
    for event in example_envelopes():
        tally.handle(event)
    tally.close()
    alerts = sum(event["type"] == "streamcls.moderation.alert" for event in example_envelopes())
    assert json.loads((tmp_path / "tally.json").read_text())["streamcls.moderation.alert"] == alerts


def test_the_preflight_of_the_example_finds_a_missing_folder(names: dict[str, Any], tmp_path: Path) -> None:
    component = names["FolderSubscriber"]
    assert component.preflight(component.Config(folder=tmp_path)) == []
    (sentence,) = component.preflight(component.Config(folder=tmp_path / "nowhere"))
    assert "create it" in sentence


def test_the_toml_is_toml_and_the_configuration_one(page: str) -> None:
    project, configuration = _blocks(page, "toml")
    assert tomllib.loads(project)["project"]["entry-points"]["streamcls"] == {"tally": "streamcls_tally"}
    settings = parse_config(configuration, PAGE)
    assert settings.subscriber[0].options == {"path": "/tmp/tally.json"}  # noqa: S108 - as on the page


def test_errors_that_the_page_names_exist(page: str) -> None:
    named = set(re.findall(r"`streamcls\.(\w+Error)`", page))
    assert named
    assert named <= set(errors.__all__)
