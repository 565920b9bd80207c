"""Whatever stands in a configuration file, it is accepted or refused with problems that say where."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamcls.config import default_text, load_config, parse_config, read_config, resolve
from streamcls.errors import ConfigError, Problem
from streamcls.interfaces import ComponentConfig
from streamcls_filetail.config import Config as FileTailConfig
from streamcls_genre.policy import GenrePolicy
from streamcls_moderation.policy import ModerationPolicy

EXAMPLES = int(os.environ.get("STREAMCLS_FUZZ_EXAMPLES", "300"))


class FileTail:
    Config = FileTailConfig


class Plain:
    """A component without a preflight and with two settings."""

    class Config(ComponentConfig):
        path: str = ""
        rate: int = 1


class Present:
    name: ClassVar[str] = "litert"

    @classmethod
    def unavailable(cls) -> str:
        return ""


class Missing(Present):
    @classmethod
    def unavailable(cls) -> str:
        return "it is not installed"


COMPONENTS: dict[str, dict[str, Any]] = {
    "source": {"demo": Plain, "filetail": FileTail},
    "backend": {"litert": Present, "tflite-runtime": Missing},
    "policy": {"genre": GenrePolicy, "moderation": ModerationPolicy},
    "subscriber": {"console": Plain, "jsonl": Plain},
}
BUNDLES = {"genre-cnn": Path("models/genre-cnn"), "moderation-cnn": Path("models/moderation-cnn")}

FULL = """\
[daemon]
name = "radio"
workers = 2
buffer_s = 5.0
log_level = "info"

[bus]
publish = ["tcp://127.0.0.1:5757", "ipc:///run/streamcls.sock"]
insecure = false

[models]
path = ["/srv/models"]

[[source]]
name = "tape"
type = "filetail"
path = "/tmp/tape.wav"
format = { sample_rate = 44100, channels = 2, encoding = "pcm_s16le" }

[[source]]
name = "demo"
type = "demo"
rate = 3

[[stream]]
match = "radio-*"
models = ["genre-cnn", "mine"]
policies = ["genre", "strict"]
tags = { format = "jazz" }

[model.mine]
bundle = "./models/mine"
stride_s = 0.5

[policy.strict]
type = "moderation"
labels = { siren = { enter = 0.7, k = 2, n = 3 } }

[[subscriber]]
type = "jsonl"
path = "events.jsonl"
kinds = ["genre"]
"""
SCRAPS = (
    "[", "]", "=", '"', "\n", "nan", "inf", "-1", "1e400", "9" * 25, "9" * 5000, "true", "{}", "[[]]", "1979-05-27", "[[source]]\n",
    "[model.x]\n", '[policy.""]\n', "~nobody/x", "\\u0000", "tcp://[::1", "tcp://\u00b2:\u00b2", 'type = "genre"\n',
    'bundle = "~nobody/a"\n', 'bundle = "a\\u0000/b"\n', "[" * 2000, "a.b.c = 1\n", "\u20ac", "*",
)  # fmt: skip


def _told(problems: list[Problem]) -> bool:
    return all(problem.where and problem.what for problem in problems)


def _outcome(text: str) -> str:
    try:
        settings_ = parse_config(text, "fuzz.toml")
    except ConfigError as error:
        return "refused" if error.problems and _told(error.problems) else "refused without a reason"
    resolved = resolve(settings_, components=COMPONENTS, bundles=BUNDLES)
    assert _told(resolved.problems)
    str(ConfigError(resolved.problems))
    resolved.settings_of("radio-1")
    assert isinstance(resolved.state_dir, Path)
    return "problems" if resolved.problems else "accepted"


def test_the_file_to_begin_with_and_the_embedded_one_are_accepted() -> None:
    assert _outcome(FULL) == "accepted"
    assert _outcome(default_text()) == "accepted"


def _mutated(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        match chance.randrange(6):
            case 0:
                text = text[:at] + text[at + chance.randint(1, 20) :]
            case 1:
                text = text[:at] + chance.choice(SCRAPS) + text[at:]
            case 2:
                text = text[:at] + chr(chance.randrange(0x500)) + text[at + 1 :]
            case 3:
                lines = text.split("\n")
                i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case 4:
                head, sep, tail = text[at:].partition("= ")
                text = text[:at] + head + sep + chance.choice(SCRAPS) + "\n" + tail.partition("\n")[2]
            case _:
                text = text[:at] + text[max(0, at - 60) : at] + text[at:]
    return text


def test_mutations_of_a_valid_file() -> None:
    chance = random.Random(20_240_607)
    outcomes = {"refused": 0, "problems": 0, "accepted": 0}
    for _ in range(EXAMPLES):
        outcomes[_outcome(_mutated(FULL, chance))] += 1
    assert all(outcomes.values()), outcomes


def test_any_bytes_in_a_file(tmp_path: Path) -> None:
    chance = random.Random(3)
    path = tmp_path / "fuzz.toml"
    for _ in range(max(1, EXAMPLES // 10)):
        content = bytearray(_mutated(FULL, chance).encode("utf-8", "surrogatepass"))
        for _ in range(chance.randint(0, 3)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            usable, problems = read_config(path)
        except ConfigError:
            with pytest.raises(ConfigError, match=r"fuzz\.toml"):
                load_config(path)
            continue
        resolve(usable, components=COMPONENTS, bundles=BUNDLES)
        assert _told(problems)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "9" * 5000,
        "a = " + "[" * 100_000,
        FULL.replace("./models/mine", "~nobody-at-all/mine"),
        FULL.replace("[daemon]", '[daemon]\nstate_dir = "~nobody-at-all/state"'),
    ],
    ids=["digits", "deep", "bundle-of-nobody", "state-of-nobody"],
)
def test_what_the_fuzzer_found(text: str) -> None:
    assert _outcome(text) in {"refused", "problems", "accepted"}


NAMES = (
    "daemon", "bus", "models", "source", "stream", "model", "policy", "subscriber", "name", "type", "path", "match", "policies",
    "priority", "tags", "bundle", "backend", "stride_s", "publish", "insecure", "workers", "state_dir", "labels", "siren", "enter",
    "map", "kinds", "streams", "format", "high_water_mark", "drain_s", "x",
)  # fmt: skip
WORDS = (
    "demo", "filetail", "genre", "moderation", "litert", "tflite-runtime", "genre-cnn", "a/b", "~/x", "tcp://127.0.0.1:1",
    "tcp://0.0.0.0:1", "*", "[", "",
)  # fmt: skip
SCALARS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(max_size=10), st.sampled_from(WORDS), st.dates(), st.times()
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)


VALUES: st.SearchStrategy[Any] = st.recursive(SCALARS, _nested, max_leaves=15)


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), VALUES), max_size=5),
    bare=st.booleans(),
)
def test_structures_of_right_names_and_wrong_values(changes: list, bare: bool) -> None:
    import tomllib

    data: dict[str, Any] = {} if bare else tomllib.loads(FULL)
    for path, value in changes:
        table: Any = data
        for step in path[:-1]:
            inner = table.get(step)
            inner = inner[0] if isinstance(inner, list) and inner else inner
            table = inner if isinstance(inner, dict) else table
        table[path[-1]] = value
    text = "\n".join(f"{_text(key)} = {_toml(value)}" for key, value in data.items())
    assert _outcome(text) in {"refused", "problems", "accepted"}


def _toml(value: Any) -> str:
    """Write a value as TOML, inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" if not c.isascii() or not c.isalnum() else c for c in value) + '"'
