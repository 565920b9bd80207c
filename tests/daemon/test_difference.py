"""What a reload has to do, told from two configurations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from streamcls.config import parse_config
from streamcls.daemon import Prepared, prepare
from streamcls.daemon.difference import Difference, Names, compare, in_force
from streamcls.plugins import discover

if TYPE_CHECKING:
    from pathlib import Path

    from streamcls.plugins import Registry

Make = Callable[..., Prepared]

A = '[[source]]\nname = "a"\ntype = "demo"\n'
B = '[[source]]\nname = "b"\ntype = "demo"\nspeed = 2.0\n'
STREAM = '[[stream]]\nmodels = ["genre-cnn"]\npolicies = ["genre"]\n'


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture
def make(registry: Registry, tmp_path: Path) -> Make:
    """Make a configuration of lines for ``[daemon]`` and tables."""

    def made(text: str, daemon: str = "") -> Prepared:
        return prepare(parse_config(f'[daemon]\nstate_dir = "{tmp_path}"\n{daemon}\n{text}', "my.toml"), registry)

    return made


def test_a_configuration_is_the_same_however_it_is_written(make: Make) -> None:
    old = make(A + B + STREAM)
    fresh = make('[[source]]\ntype = "demo"\nloop = true\nname = "b"\nspeed = 2\n' + A + STREAM, "heartbeat_s = 5.0")
    assert compare(old, fresh) == Difference()
    assert not compare(old, fresh)


def test_sources_are_told_apart_by_name_type_and_settings(make: Make) -> None:
    old, fresh = make(A + B), make(B.replace("2.0", "3.0") + A.replace('"a"', '"c"'))
    assert compare(old, fresh).sources == Names(("c",), ("b",), ("a",))
    tail = '[[source]]\nname = "a"\ntype = "filetail"\npath = "/dev/null"\nformat = { sample_rate = 8000 }\n'
    assert compare(old, make(tail + B)).sources == Names(changed=("a",))


def test_subscribers_are_told_apart_by_the_keys_of_all_and_their_own(make: Make, tmp_path: Path) -> None:
    lines = f'[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/a"\n'
    console = '[[subscriber]]\ntype = "console"\n'
    old = make(A + lines + console)
    assert compare(old, make(A + console + lines)) == Difference()
    assert compare(old, make(A + console + lines + "sync = true\n")).subscribers == Names(changed=("jsonl",))
    assert compare(old, make(A + console + lines + "hang_s = 9\n")).subscribers == Names(changed=("jsonl",))
    assert compare(old, make(A + console + 'name = "tty"\n')).subscribers == Names(("tty",), (), ("jsonl", "console"))


def test_a_process_of_its_own_waits_where_there_is_no_endpoint_for_it(make: Make, tmp_path: Path) -> None:
    lines = f'[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/a"\n'
    old, fresh = make(A + lines), make(A + lines + "isolate = true\n")
    assert compare(old, fresh).subscribers == Names(changed=("jsonl",))
    found = compare(old, fresh, isolates=False)
    assert (found.subscribers, found.waiting) == (Names(), ("subscriber.jsonl.isolate",))
    ((entry, _),) = in_force(old, fresh, found).resolved.subscribers
    assert entry.isolate is False


def test_policies_and_planned_silence(make: Make) -> None:
    old, fresh = make(A), make(A + '[policy.genre]\nenter = 0.5\n[[silence]]\nname = "night"\nend = "06:00"\n')
    found = compare(old, fresh)
    assert (found.policies, found.settings) == (Names(changed=("genre",)), ("silence",))
    fewer = make(A + STREAM)
    assert compare(old, fewer).policies == Names(removed=("moderation",))
    assert compare(old, fewer).models == Names(removed=("moderation-cnn",))
    assert compare(old, fewer).settings == ("stream",)


def test_a_model_is_another_one_when_its_files_are(make: Make, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(root / "models" / "genre-cnn", copy)
    text = A + STREAM + f'[model.genre-cnn]\nbundle = "{copy}"\n'
    old = make(text)
    assert compare(old, make(text)) == Difference()
    assert compare(old, make(text + "stride_s = 2.0\n")).models == Names(changed=("genre-cnn",))
    manifest = (copy / "bundle.toml").read_text("utf-8")
    (copy / "bundle.toml").write_text(manifest.replace("temperature = 0.", "temperature = 1."), encoding="utf-8")
    assert compare(old, make(text)).models == Names(changed=("genre-cnn",))


@pytest.mark.parametrize(
    ("daemon", "text", "settings", "waiting"),
    [
        ("heartbeat_s = 1.0\nstall_s = 9.0", "", ("daemon.heartbeat_s", "daemon.stall_s"), ()),
        ('log_level = "debug"\ndrain_s = 2.0', "", ("daemon.drain_s", "daemon.log_level"), ()),
        ('workers = 3\nname = "studio"', "", (), ("daemon.name", "daemon.workers")),
        ("buffer_s = 9.0", "", (), ("daemon.buffer_s",)),
        ("", '[bus]\npublish = ["tcp://127.0.0.1:6000"]\n', (), ("bus.publish",)),
        ("", "[journal]\nmax_mb = 9\nwindows = true\n", ("journal.max_mb",), ("journal.windows",)),
        ("", "[audit]\nenabled = true\n", ("audit.enabled",), ()),
        ("", "[overload]\nmax_stretch = 2\n", ("overload.max_stretch",), ()),
        ("", '[evidence]\npath = "/tmp/clips"\nmax_mb = 9\n', ("evidence.path", "evidence.max_mb"), ()),
    ],
)
def test_what_takes_effect_at_once_and_what_waits(
    make: Make, daemon: str, text: str, settings: tuple[str, ...], waiting: tuple[str, ...]
) -> None:
    found = compare(make(A), make(A + text, daemon))
    assert found == Difference(settings=settings, waiting=waiting)
    assert bool(found) is bool(settings)


def test_clips_stay_in_their_folder_until_the_next_start(make: Make) -> None:
    found = compare(make(A), make(A + '[evidence]\npath = "/tmp/clips"\n'), clips=True)
    assert found == Difference(waiting=("evidence.path",))


def test_what_waits_is_as_it_was_and_is_named_until_it_is_so(make: Make) -> None:
    old = make(A)
    fresh = make(B + '[bus]\npublish = ["tcp://127.0.0.1:6000"]\n', "workers = 3\nheartbeat_s = 1.0")
    found = compare(old, fresh)
    now = in_force(old, fresh, found)
    settings = now.resolved.settings
    assert settings.bus == old.resolved.settings.bus
    assert (settings.daemon.workers, settings.daemon.heartbeat_s) == (0, 1.0)
    assert compare(now, fresh) == Difference(waiting=found.waiting)
    assert compare(now, make(B, "heartbeat_s = 1.0")) == Difference()


def test_what_is_the_same_is_the_very_object_that_is_in_use(make: Make) -> None:
    old = make(A + B)
    fresh = make(A + B.replace("2.0", "3.0") + "[policy.genre]\nenter = 0.5\n")
    now = in_force(old, fresh, compare(old, fresh))
    before = {part.name: part for part in old.resolved.sources}
    after = {part.name: part for part in now.resolved.sources}
    assert after["a"] is before["a"]
    assert after["b"] is not before["b"]
    assert now.resolved.policies["moderation"] is old.resolved.policies["moderation"]
    assert now.resolved.policies["genre"] is fresh.resolved.policies["genre"]
    assert now.models == old.models
