"""Plugins of strangers: one that is in order, installed as its own distribution, and many that are not."""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import TYPE_CHECKING, Any

import click
import pytest
from realbundle import real_bundle
from strangers import fabricate, install, streamcls

from streamcls.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamcls.plugins import PluginRecord, Registry

# --- a plugin that is in order -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site") / "packages")


def test_a_strangers_distribution_is_listed_with_all_that_it_provides(sample: Path) -> None:
    """Every hook: register_sources, register_backends, register_policies, register_subscribers, register_model_paths, register_commands."""
    result = streamcls("plugins", "--json", path=[sample])
    assert result.returncode == 0, result.stdout + result.stderr
    records = {
        record["name"]: record for record in json.loads(result.stdout) if record["distribution"] == "streamcls-sample"
    }
    assert {record["version"] for record in records.values()} == {"1.2.3"}
    assert {record["status"] for record in records.values()} == {"ok"}
    provided = {
        name: [(item["kind"], item["name"], item["reason"]) for item in record["provides"]]
        for name, record in records.items()
    }
    assert provided == {
        "tally": [("subscriber", "tally", "")],
        "sample": [
            ("source", "tones", ""),
            ("backend", "matrix", ""),
            ("policy", "steady", ""),
            ("models", str(sample / "streamcls_sample" / "models"), ""),
            ("command", "greet", ""),
        ],
    }


def test_a_strangers_plugin_leaves_nothing_in_the_checkout(sample: Path, root: Path) -> None:
    assert sample.is_dir()
    left = {path.name for path in (root / "tests" / "sample_plugin").iterdir()} - {
        "pyproject.toml",
        "README.md",
        "streamcls_sample",
    }
    assert not left


def test_a_strangers_command_is_one_of_ours(sample: Path) -> None:
    assert streamcls("greet", "radio", path=[sample]).stdout == "hello, radio\n"
    assert "Say hello to NAME." in streamcls("--help", path=[sample]).stdout


def test_a_strangers_bundle_is_found_and_in_order(sample: Path) -> None:
    result = streamcls("models", "--json", path=[sample])
    (pitch,) = [model for model in json.loads(result.stdout) if model["name"] == "pitch"]
    assert pitch["labels"] == ["low", "high"]


def test_a_strangers_options_are_checked_like_ours(sample: Path, tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(
        '[[source]]\nname = "s"\ntype = "tones"\nsecond = 3\n[[stream]]\nmodels = ["pitsch"]\npolicies = ["steady"]\n'
    )
    result = streamcls("check", config, path=[sample])
    assert result.returncode == 78
    assert "'second'" in result.stderr
    assert 'did you mean "seconds"?' in result.stderr
    assert 'did you mean "pitch"?' in result.stderr


SAMPLE_RUN = """
[daemon]
state_dir = "{folder}"
workers = 1
[bus]
publish = ["ipc://{folder}/events"]
[[source]]
name = "organ"
type = "tones"
seconds = 12
[[stream]]
models = ["pitch", "real"]
policies = ["steady", "genre"]
[model.pitch]
backend = "matrix"
[model.real]
bundle = "{bundle}"
[policy.steady]
models = ["pitch"]
[policy.genre]
models = ["real"]
[[subscriber]]
type = "tally"
path = "{folder}/tally.json"
[[subscriber]]
type = "jsonl"
path = "{folder}/events.jsonl"
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_bundle(tmp_path_factory.mktemp("bundle"))


def _run(folder: Path, real: Path, path: list[Path]) -> tuple[int, str, list[dict[str, Any]], dict[str, int]]:
    config = folder / "run.toml"
    config.write_text(SAMPLE_RUN.format(folder=folder, bundle=real), encoding="utf-8")
    result = streamcls("run", config, path=path)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return result.returncode, result.stderr, events, json.loads((folder / "tally.json").read_text(encoding="utf-8"))


def test_a_daemon_made_of_a_strangers_parts_classifies(sample: Path, real: Path, tmp_path: Path) -> None:
    """Source, backend, bundle, policy and subscriber are the stranger's; a real TFLite model and our genre policy run beside them."""
    code, log, events, tally = _run(tmp_path, real, [sample])
    assert code == 0, log
    steady = [
        (e["data"]["phase"], e["data"]["label"], e["data"].get("reason"))
        for e in events
        if e["type"] == "streamcls.sample.steady"
    ]
    assert steady == [
        ("opened", "low", None),
        ("closed", "low", "changed"),
        ("opened", "high", None),
        ("closed", "high", "end of stream"),
    ]
    (change,) = [
        e["data"]["end_sample"]
        for e in events
        if e["type"] == "streamcls.sample.steady" and e["data"].get("reason") == "changed"
    ]
    assert 11.0 <= change / 16_000 <= 13.0, "the tone changes after 12 s"
    assert sum(e["type"] == "streamcls.genre.window" for e in events) >= 5, "the TFLite model classified the tones too"
    counted = {kind: sum(e["type"] == kind for e in events) for kind in tally}
    assert tally == counted, "the stranger's subscriber saw what ours saw"


# --- plugins that are not ------------------------------------------------------------------------------------------

SOURCE = """
import streamcls

class Good:
    name = "good-{name}"
    live = False
    class Config(streamcls.ComponentConfig):
        pass
    def __init__(self, config, context):
        pass
    def items(self, stop):
        return iter(())
"""
BACKEND = """
import streamcls

class Backend:
    name = "{name}"
    def load(self, bundle):
        raise NotImplementedError
    @classmethod
    def unavailable(cls):
        {unavailable}

@streamcls.hookimpl
def register_backends():
    return [Backend]
"""


def _hook(name: str, body: str, arguments: str = "") -> str:
    return f"import streamcls\n@streamcls.hookimpl\ndef {name}({arguments}):\n    {body}\n"


BROKEN = {
    "import_error": (
        "import a_library_that_is_not_there",
        "ModuleNotFoundError: No module named 'a_library_that_is_not_there'",
    ),
    "syntax_error": ("def :", "SyntaxError"),
    "exits": ("import sys\nsys.exit('I will not')", "SystemExit: I will not"),
    "raising_hook": (
        _hook("register_sources", "raise KeyError('sound card')"),
        "register_sources raised KeyError: 'sound card'",
    ),
    "exiting_hook": (_hook("register_policies", "raise SystemExit(3)"), "register_policies raised SystemExit: 3"),
    "not_a_list": (
        _hook("register_subscribers", "return int"),
        "register_subscribers returned <class 'int'>, expected a list",
    ),
    "nothing": (_hook("register_subscribers", "pass"), "register_subscribers returned None, expected a list"),
    "instances": (
        _hook("register_subscribers", "return [object()]"),
        "register_subscribers returned <object object at",
    ),
    "wrong_type": (
        _hook("register_subscribers", "return [int]"),
        "int is no Subscriber: it lacks name, Config, handle, close",
    ),
    "missing_members": (
        SOURCE.format(name="x").replace("def items", "def things") + _hook("register_sources", "return [Good]"),
        "Good is no Source: it lacks items",
    ),
    "no_name": (
        SOURCE.replace('"good-{name}"', "3") + _hook("register_sources", "return [Good]"),
        "Good is no Source: its name is 3, expected a string",
    ),
    "no_config": (
        SOURCE.format(name="no_config") + "Good.Config = dict\n" + _hook("register_sources", "return [Good]"),
        "source 'good-no_config': its Config is <class 'dict'>, expected a class that inherits streamcls.ComponentConfig",
    ),
    "half_a_config": (
        SOURCE.format(name="half_a_config").replace("pass", "path: Path", 1)
        + _hook("register_sources", "return [Good]"),
        "name 'Path' is not defined",
    ),
    "unknown_argument": (
        _hook("register_sources", "return []", "daemon"),
        "Argument(s) {'daemon'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "unknown_hook": (
        _hook("register_source", "return []"),
        "register_source is no hook; the hooks are register_sources, ",
    ),
    "unmarked_hook": (
        "def register_sources():\n    return []",
        "register_sources is not marked with @streamcls.hookimpl",
    ),
    "unavailable_raises": (
        BACKEND.format(name="unsure", unavailable="raise OSError('no such library')"),
        "backend 'unsure': unavailable() raised OSError: no such library",
    ),
    "unavailable_says_nothing": (
        BACKEND.format(name="silent", unavailable="return None"),
        "backend 'silent': unavailable() returned None, expected a string",
    ),
    "model_paths": (_hook("register_model_paths", "return [3]"), "register_model_paths returned 3, expected folders"),
    "model_path": (
        _hook("register_model_paths", "return '/models'"),
        "register_model_paths returned '/models', expected a list",
    ),
    "raising_commands": (
        _hook("register_commands", "cli.no_such_method()", "cli"),
        "register_commands raised AttributeError",
    ),
    "taken_command": (
        "import click\n" + _hook("register_commands", "cli.add_command(click.Command('run'))", "cli"),
        "command 'run' exists already",
    ),
    "strange_class": (
        """
        import streamcls
        class Meta(type):
            @property
            def name(cls):
                raise RuntimeError("not today")
        class Strange(metaclass=Meta):
            Config = items = None
        @streamcls.hookimpl
        def register_sources():
            return [Strange]
        """,
        "register_sources: looking at what it returned raised RuntimeError: not today",
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path of this process; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _discover(folder: Path) -> Registry:
    found = [point for one in distributions(path=[str(folder)]) for point in one.entry_points]
    registry = discover(found)
    registry.add_commands(click.Group(commands={"run": click.Command("run")}))
    return registry


def _record(registry: Registry, name: str) -> PluginRecord:
    (record,) = [record for record in registry.records if record.name == name]
    return record


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_recorded_with_its_reason(site: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    code, reason = BROKEN[name]
    fabricate(site, name, code)
    record = _record(_discover(site), name)
    assert record.status == "broken"
    assert reason in record.reason
    assert "\n" not in record.reason
    assert (record.distribution, record.version) == (name, "0.1")
    assert f"plugin {name} ({name}): " in caplog.text


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_does_not_stop_those_after_it(site: Path, name: str) -> None:
    fabricate(site, name, BROKEN[name][0])
    fabricate(site, "zz_good", SOURCE.format(name="last") + _hook("register_sources", "return [Good]"))
    registry = _discover(site)
    assert _record(registry, "zz_good").status == "ok"
    assert list(registry.sources) == ["good-last"], "and nothing of the broken one is used"


def test_what_is_good_in_a_broken_plugin_is_kept(site: Path) -> None:
    code = (
        SOURCE.format(name="half")
        + _hook("register_sources", "return [Good, 7]")
        + _hook("register_policies", "raise ValueError('no')")
    )
    fabricate(site, "half", code)
    registry = _discover(site)
    record = _record(registry, "half")
    assert list(registry.sources) == ["good-half"]
    assert record.reason == "register_sources returned 7, expected classes; register_policies raised ValueError: no"


def test_a_name_that_is_taken_stays_with_whom_had_it_first(site: Path) -> None:
    for name in ("first", "second"):
        fabricate(site, name, SOURCE.format(name="same") + _hook("register_sources", "return [Good]"))
    registry = _discover(site)
    assert registry.sources["good-same"].__module__ == "first"
    second = _record(registry, "second")
    assert second.reason == "source 'good-same' is already provided by first"
    assert [(item.name, item.reason) for item in second.provides] == [("good-same", "the name is taken by first")]


def test_our_own_components_cannot_be_taken_over(site: Path) -> None:
    fabricate(site, "a_impostor", SOURCE.replace("good-{name}", "demo") + _hook("register_sources", "return [Good]"))
    registry = discover()
    assert registry.sources["demo"].__module__ == "streamcls_demo.source"
    assert _record(registry, "a_impostor").reason == "source 'demo' is already provided by streamcls_demo.source"


def test_one_module_under_two_names_is_one_plugin_and_one_mistake(site: Path) -> None:
    fabricate(
        site,
        "twice",
        SOURCE.format(name="x") + _hook("register_sources", "return [Good]"),
        entry_points="one = twice\ntwo = twice",
    )
    registry = _discover(site)
    assert _record(registry, "one").status == "ok"
    assert "twice" in _record(registry, "two").reason


def test_a_distribution_found_twice_counts_once() -> None:
    point = EntryPoint("console", "streamcls_console", "streamcls")
    assert [record.status for record in discover([point, point]).records] == ["ok"]


def test_a_distribution_whose_own_record_is_damaged_is_loaded_all_the_same(site: Path) -> None:
    fabricate(
        site, "undocumented", SOURCE.format(name="u") + _hook("register_sources", "return [Good]"), metadata=False
    )
    registry = _discover(site)
    assert _record(registry, "undocumented").status == "ok"
    assert "good-u" in registry.sources


def test_a_distribution_that_raises_when_it_is_asked_its_name_is_loaded_all_the_same() -> None:
    """Which some versions of Python do where METADATA is missing."""

    class Damaged(Distribution):
        def read_text(self, filename: str) -> str | None:
            raise OSError(5, "Input/output error", filename)

        def locate_file(self, path: Any) -> Any:
            raise NotImplementedError

    point = EntryPoint("console", "streamcls_console", "streamcls")
    vars(point).update(dist=Damaged())
    (record,) = discover([point]).records
    assert (record.status, record.distribution, record.version) == ("ok", "", "")


def test_an_entry_point_to_nothing_is_recorded(site: Path) -> None:
    fabricate(site, "odd", "", entry_points="one = odd:attribute\ntwo = odd.sub.module\nthree = not a module!")
    registry = _discover(site)
    assert [record.status for record in registry.records] == ["broken"] * 3
    assert "attribute" in _record(registry, "one").reason
    assert "odd.sub" in _record(registry, "two").reason


def test_an_object_can_be_a_plugin_and_a_hook_may_have_another_name(site: Path) -> None:
    code = SOURCE.format(name="object") + (
        "class Plugin:\n"
        "    @streamcls.hookimpl(specname='register_sources')\n"
        "    def sources(self):\n"
        "        return (Good,)\n"
        "plugin = Plugin()\n"
    )
    fabricate(site, "an_object", code, entry_points="an_object = an_object:plugin")
    registry = _discover(site)
    assert _record(registry, "an_object").reason == ""
    assert list(registry.sources) == ["good-object"]


def test_a_command_of_a_plugin_that_raises_halfway_is_not_added(site: Path) -> None:
    body = "cli.add_command(click.Command('half'))\n    raise ValueError('no')"
    fabricate(site, "halfway", "import click\n" + _hook("register_commands", body, "cli"))
    found = [point for one in distributions(path=[str(site)]) for point in one.entry_points]
    group = click.Group()
    discover(found).add_commands(group)
    assert not group.commands


def test_a_backend_that_does_not_work_here_is_no_fault(site: Path) -> None:
    fabricate(site, "honest", BACKEND.format(name="honest", unavailable="return 'no accelerator in this machine'"))
    registry = _discover(site)
    record = _record(registry, "honest")
    assert record.status == "ok"
    assert [(item.name, item.reason) for item in record.provides] == [("honest", "no accelerator in this machine")]
    assert "honest" in registry.backends


@pytest.fixture(scope="module")
def all_broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every broken plugin at once, and one that takes a name."""
    folder = tmp_path_factory.mktemp("broken")
    for name, (code, _) in BROKEN.items():
        fabricate(folder, name, code)
    fabricate(folder, "taken_name", SOURCE.replace("good-{name}", "demo") + _hook("register_sources", "return [Good]"))
    return folder


def test_every_broken_plugin_is_listed_with_its_reason(all_broken: Path) -> None:
    listed = streamcls("plugins", "--json", path=[all_broken])
    assert listed.returncode == 1
    records = {record["name"]: record for record in json.loads(listed.stdout)}
    for name, (_, reason) in BROKEN.items():
        assert records[name]["status"] == "broken", name
        assert reason in records[name]["reason"]
    assert records["taken_name"]["reason"] == "source 'demo' is already provided by streamcls_demo.source"
    assert {record["status"] for record in records.values() if record["distribution"] == "streamcls"} == {"ok"}
    table = streamcls("plugins", path=[all_broken])
    assert table.returncode == 1
    for name, (_, reason) in BROKEN.items():
        assert any(line.startswith(name) and reason in line for line in table.stdout.splitlines()), name


def test_a_daemon_runs_on_beside_broken_plugins(all_broken: Path, sample: Path, real: Path, tmp_path: Path) -> None:
    """And names each of them in its log."""
    config = tmp_path / "run.toml"
    config.write_text(SAMPLE_RUN.format(folder=tmp_path, bundle=real), encoding="utf-8")
    assert streamcls("check", config, path=[sample, all_broken]).returncode == 0
    code, log, events, _ = _run(tmp_path, real, [sample, all_broken])
    assert code == 0, log
    assert sum(e["type"] == "streamcls.genre.window" for e in events) >= 5
    unnamed = {name for name in BROKEN if f"plugin {name} ({name}): " not in log}
    assert unnamed == {"raising_commands", "taken_command"}, "those are looked at only where commands are"


def test_commands_of_broken_plugins_do_not_hide_the_others(all_broken: Path, sample: Path) -> None:
    shown = streamcls("--help", path=[sample, all_broken])
    assert shown.returncode == 0
    assert "greet" in shown.stdout
    commands = [line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ") and line.strip()]
    assert commands.count("run") == 1
