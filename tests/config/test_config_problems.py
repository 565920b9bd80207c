from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, SecretStr, ValidationError

from streamcls import ComponentConfig
from streamcls.config import default_text, load_config, parse_config, read_config, resolve
from streamcls.config.problems import did_you_mean, problems_of
from streamcls.errors import ConfigError
from streamcls.plugins import Registry, discover


class Login(ComponentConfig):
    user: str
    password: SecretStr = Field(min_length=8)


class StationConfig(ComponentConfig):
    """Every shape that a plugin's configuration may have."""

    url: str
    rate: int | None = None
    token: SecretStr | None = None
    tokens: dict[str, SecretStr] = Field(default_factory=dict)
    login: Login | None = None
    logins: Annotated[list[Annotated[Login, "note"]], Field(max_length=3)] = []  # noqa: RUF012 - pydantic copies it
    pair: tuple[int, Login] | None = None
    mode: Literal["fast", "slow"] = "fast"
    either: Login | int = 0
    renamed: int = Field(default=0, alias="class")


class Station:
    """A stranger's source; the plugin edge is ours to fake."""

    name: ClassVar[str] = "station"
    Config = StationConfig

    def __init__(self, config: StationConfig, context: object) -> None:
        raise AssertionError("nothing is opened by a check")


class Touchy:
    name: ClassVar[str] = "touchy"

    class Config(ComponentConfig):
        raises: bool = False
        closed: str = ""

    @staticmethod
    def preflight(config: Any) -> list[str]:
        if config.closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), config.closed)
        if config.raises:
            raise RuntimeError("boom")
        return ["the needle is worn: change it"]


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = discover()
    found.components["source"] |= {"station": Station, "touchy": Touchy}
    return found


@pytest.fixture
def problems(registry: Registry, tmp_path: Path) -> Any:
    """Return what is wrong with a text, as ``streamcls check`` says it, bundles apart."""

    def find(text: str) -> list[str]:
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        try:
            settings, found = read_config(path)
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        bundles = {"genre-cnn": tmp_path, "moderation-cnn": tmp_path}
        return [
            str(problem)
            for problem in [*found, *resolve(settings, components=registry.components, bundles=bundles).problems]
        ]

    return find


DEMO = '[[source]]\nname = "demo"\ntype = "demo"\n'
STATION = '[[source]]\nname = "fm"\ntype = "station"\nurl = "x"\n'

BROKEN = [
    # No TOML, or none of ours
    ("[bus\n", "my.toml: is no valid TOML: "),
    ("a = 1\na = 2\n" + DEMO, "is no valid TOML: Cannot overwrite a value (at line 2"),
    ("a = " + "[" * 5_000, "my.toml: is nested too deeply"),
    ("", "no source is given, so nothing would be heard (add one: [[source]] with a name and a type"),
    ("source = []", "source: no source is given, so nothing would be heard (add one: "),
    ('source = "demo"', "source: 'demo': expected a list"),
    ("sourc = 1\n" + DEMO, "file: unknown key 'sourc' (did you mean \"source\"?)"),
    ("[[sources]]\nname = 'x'\ntype = 'demo'", 'no source is given, so nothing would be heard (is "sources" meant?)'),
    ('[logging]\nlevel = "x"\n' + DEMO, "file: unknown table [logging] (known: audit, bus, daemon"),
    # The daemon
    ('[daemon]\nnam = "x"\n' + DEMO, "daemon: unknown key 'nam' (did you mean \"name\"?)"),
    ('[daemon]\nname = "a b"\n' + DEMO, "daemon.name: 'a b': expected letters, digits and . _ : @ + - only"),
    ("[daemon]\nworkers = -1\n" + DEMO, "daemon.workers: -1: expected at least 0"),
    ('[daemon]\nworkers = "many"\n' + DEMO, "daemon.workers: 'many': expected a whole number"),
    ('[daemon]\nlog_level = "loud"\n' + DEMO, "daemon.log_level: 'loud': expected 'debug', 'info', 'warning' or 'error'"),
    ("[daemon]\nbuffer_s = 0.1\n" + DEMO, "daemon.buffer_s: 0.1: expected at least 0.5"),
    ("[daemon]\nretry_s = 90\n" + DEMO, "daemon: retry_s is 90, expected at most retry_max_s (60)"),
    ("[daemon]\nheartbeat_s = nan\n" + DEMO, "daemon.heartbeat_s: nan: "),
    ("daemon = 3\n" + DEMO, "daemon: 3: expected a table"),
    # The bus
    ('[bus]\npublish = "tcp://127.0.0.1:1"\n' + DEMO, "bus.publish: 'tcp://127.0.0.1:1': expected a list"),
    ('[bus]\npublish = ["tcp://127.0.0.1"]\n' + DEMO,
     "bus.publish[0]: 'tcp://127.0.0.1': expected tcp://ADDRESS:PORT with a port of 1 to 65535"),
    ('[bus]\npublish = ["tcp://127.0.0.1:70000"]\n' + DEMO, "with a port of 1 to 65535"),
    ('[bus]\npublish = ["tcp://127.0.0.1:\uff15"]\n' + DEMO, "with a port of 1 to 65535"),
    ('[bus]\npublish = ["udp://127.0.0.1:1"]\n' + DEMO, "bus.publish[0]: 'udp://127.0.0.1:1': expected tcp://ADDRESS:PORT or ipc:///PATH"),
    ('[bus]\npublish = ["ipc://"]\n' + DEMO, "expected tcp://ADDRESS:PORT or ipc:///PATH"),
    ("[bus]\npublish = [7]\n" + DEMO, "bus.publish[0]: 7: expected text in quotes"),
    ('[bus]\npublish = ["tcp://0.0.0.0:5757"]\n' + DEMO, "bus: tcp://0.0.0.0:5757, tcp://0.0.0.0:5758 can be reached from other machines"),
    ("[bus]\nhigh_water_mark = 0\n" + DEMO, "bus.high_water_mark: 0: expected at least 1"),
    ("[bus]\nhighwatermark = 5\n" + DEMO, "bus: unknown key 'highwatermark' (did you mean \"high_water_mark\"?)"),
    # Sources
    ("[[source]]\ntype = 'demo'", "source[0]: 'name' is missing"),
    ("[[source]]\nnmae = 'x'\ntype = 'demo'", "source[0]: 'name' is missing (is \"nmae\" meant?)"),
    ("[[source]]\nname = 'x'", "source[0] \"x\": 'type' is missing"),
    ("[[source]]\nname = 'x/y'\ntype = 'demo'", "source[0] \"x/y\".name: 'x/y': expected letters, digits"),
    ("[[source]]\nname = 'x'\ntype = 'dmeo'", "source[0] \"x\".type: unknown type 'dmeo' (did you mean \"demo\"?)"),
    ("[[source]]\nname = 'x'\ntype = ''", "source[0] \"x\".type: '': expected at least 1 character"),
    (DEMO + DEMO, "source[1] \"demo\".name: 'demo' is used twice (names of sources must differ)"),
    (DEMO + "sped = 2\n", "source[0] \"demo\": unknown key 'sped' (did you mean \"speed\"?)"),
    (DEMO + "nmae = 2\n", "source[0] \"demo\": unknown key 'nmae' (did you mean \"name\"?)"),
    (DEMO + "speed = -1\n", 'source[0] "demo".speed: -1: expected at least 0'),
    (DEMO + "[[source]]\nname = 't'\ntype = 'filetail'\n", "source[1] \"t\": 'path' is missing"),
    (DEMO + "[[source]]\nname = 't'\ntype = 'filetail'\npath = 'x'\n[source.format]\nsample_rat = 8000\nsample_rate = 1",
     "source[1] \"t\".format: unknown key 'sample_rat' (did you mean \"sample_rate\"?)"),
    (DEMO + "[[source]]\nname = 't'\ntype = 'filetail'\npath = 'x'\n[source.format]\nsample_rate = 8000\nencoding = 'mp3'",
     "source[1] \"t\".format.encoding: 'mp3': expected 'pcm_u8', "),
    (STATION + "[[source.logins]]\nuser = 'a'\nusr = 'b'\npassword = '12345678'",
     "source[0] \"fm\".logins[0]: unknown key 'usr' (did you mean \"user\"?)"),
    (STATION + "clas = 1", "source[0] \"fm\": unknown key 'clas' (did you mean \"class\"?)"),
    (STATION + "[source.login]\nusr = 'a'\npassword = '12345678'", "source[0] \"fm\".login: 'user' is missing (is \"usr\" meant?)"),
    (STATION + "pair = [1, {user = 'a', password = '12345678', pasword = 'x'}]",
     "source[0] \"fm\".pair[1]: unknown key 'pasword' (did you mean \"password\"?)"),
    (STATION + "either = {user = 'a', password = '12345678', pasword = 'x'}",
     "source[0] \"fm\".either: unknown key 'pasword' (did you mean \"password\"?)"),
    ("[[source]]\nname = 'x'\ntype = 'touchy'", 'source[0] "x": the needle is worn: change it'),
    ("[[source]]\nname = 'x'\ntype = 'touchy'\nraises = true", 'source[0] "x": its preflight raised RuntimeError: boom'),
    ("[[source]]\nname = 'x'\ntype = 'touchy'\nclosed = '/c/f'",
     'source[0] "x": no permission to look at /c/f (let the daemon\'s user enter the folders above it; '),
    # Streams, models, policies
    (DEMO + "[[stream]]\nmach = '*'", "stream[0]: unknown key 'mach' (did you mean \"match\"?)"),
    (DEMO + "[[stream]]\nmatch = ''", "stream[0].match: '': expected at least 1 character"),
    (DEMO + "[[stream]]\nmodels = ['genre-cn']", "stream[0].models: unknown model 'genre-cn' (did you mean \"genre-cnn\"?)"),
    (DEMO + "[[stream]]\npolicies = ['gerne']", "stream[0].policies: unknown policy 'gerne' (did you mean \"genre\"?)"),
    (DEMO + "[[stream]]\n[stream.tags]\nx = 3", "stream[0].tags.x: 3: expected text in quotes"),
    (DEMO + "[model.genre-cnn]\nstrides = 3", "model.genre-cnn: unknown key 'strides' (did you mean \"stride_s\"?)"),
    (DEMO + "[model.genre-cnn]\nstride_s = 0", "model.genre-cnn.stride_s: 0: expected above 0 (it is in seconds)"),
    (DEMO + "[model.other]", "model.other.bundle: no bundle 'other' ("),
    (DEMO + "[model.genre-cnn]\nbackend = 'lightrt'", "model.genre-cnn.backend: unknown backend 'lightrt' (did you mean \"litert\"?)"),
    (DEMO + "[model.'a b']", "model.a b: 'a b': expected letters, digits"),
    (DEMO + "[policy.genre]\nentr = 0.4", "policy.genre: unknown key 'entr' (did you mean \"enter\"?)"),
    (DEMO + "[policy.genre]\nenter = 0.2", "policy.genre: leave is 0.3, expected at most enter (0.2)"),
    (DEMO + "[policy.mine]\ntype = 'gerne'", "policy.mine.type: unknown type 'gerne' (did you mean \"genre\"?)"),
    (DEMO + "[policy.moderation.labels.siren]\ncool_dwn_s = 3",
     "policy.moderation.labels.siren: unknown key 'cool_dwn_s' (did you mean \"cool_down_s\"?)"),
    (DEMO + "[policy.moderation.labels.siren]\nseverity = 'bad'", "policy.moderation.labels.siren.severity: 'bad': expected 'info', 'low'"),
    (DEMO + "[policy.moderation.labels.siren]\nk = 5\nn = 2", "policy.moderation.labels.siren: k is 5, expected at most n (2)"),
    (DEMO + "[policy.moderation.labels]\nsiren = 3", "policy.moderation.labels.siren: 3: expected a "),
    # Planned silence
    (DEMO + "[[silence]]\nname = 'n'\nbegin = '8:30'", "silence[0] \"n\".begin: '8:30': expected a time of day of four digits, e.g. 08:30"),
    (DEMO + "[[silence]]\nname = 'n'\nbegin = '24:00'", "silence[0] \"n\".begin: '24:00': expected a time of day up to 23:59"),
    (DEMO + "[[silence]]\nname = 'n'\nend = '25:00'", "silence[0] \"n\".end: '25:00': expected a time of day of four digits"),
    # Subscribers
    (DEMO + "[[subscriber]]\ntype = 'consol'", "subscriber[0] \"consol\".type: unknown type 'consol' (did you mean \"console\"?)"),
    (DEMO + "[[subscriber]]\ntype = 'console'\nkind = ['genre']",
     "subscriber[0] \"console\": unknown key 'kind' (did you mean \"kinds\"?)"),
    (DEMO + "[[subscriber]]\ntype = 'console'\nkinds = 'genre'", "subscriber[0].kinds: 'genre': expected a list"),
    (DEMO + "[[subscriber]]\ntype = 'jsonl'\npath = '/no/such/folder/x'",
     "subscriber[0] \"jsonl\": path '/no/such/folder/x': the folder /no/such/folder does not"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN, ids=lambda value: None)
def test_a_mistake_is_named_with_its_place_and_what_to_do(problems: Any, text: str, expected: str) -> None:
    found = problems(text)
    assert any(expected in problem for problem in found), found
    assert not any(re.search(r"\.(:|\.)|: :|\(\)|input|Input|tuple|dictionary", problem) for problem in found), found


def test_true_is_no_number_of_workers_and_shown_as_the_file_has_it(problems: Any) -> None:
    (found,) = problems("[daemon]\nname = true\n" + DEMO)
    assert found == "daemon.name: true: expected text in quotes"


def test_names_of_subscribers_differ(problems: Any, registry: Registry, tmp_path: Path) -> None:
    twice = DEMO + "[[subscriber]]\ntype = 'console'\nname = 'a'\n[[subscriber]]\ntype = 'jsonl'\nname = 'a'\n"
    assert problems(twice) == ["subscriber[1] \"a\".name: 'a' is used twice (names of subscribers must differ)"]
    unnamed = DEMO + 3 * "[[subscriber]]\ntype = 'console'\n" + "[[subscriber]]\ntype = 'console'\nname = 'console-2'\n"
    resolved = resolve(parse_config(unnamed, "x"), components=registry.components, bundles={})
    assert [component.name for _, component in resolved.subscribers] == [
        "console",
        "console-3",
        "console-4",
        "console-2",
    ]


def test_everything_is_said_at_once_of_the_structure_and_of_the_components(problems: Any) -> None:
    found = problems(
        """
colour = true
[bus]
publish = ["tcp://0.0.0.0:1"]
[daemon]
workers = "x"
[[source]]
name = "a"
type = "demo"
speeed = 3
[[source]]
nam = "b"
type = "filetail"
[[source]]
name = "c"
[[source]]
name = "d"
type = "none"
[[stream]]
models = ["nothing"]
priority = "high"
[policy.genre]
entr = 1
[model.genre-cnn]
stride_s = "x"
backend = "none"
[[subscriber]]
type = "console"
kinds = 3
colours = "never"
"""
    )
    places = [
        "file: unknown key 'colour'",
        "bus: tcp://0.0.0.0:1",
        "daemon.workers",
        "source[0] \"a\": unknown key 'speeed'",
        "source[1]: 'name' is missing",
        "source[1]: 'path' is missing",
        "source[2] \"c\": 'type' is missing",
        "source[3] \"d\".type: unknown type 'none'",
        "stream[0].models: unknown model 'nothing'",
        "stream[0].priority",
        "policy.genre: unknown key 'entr'",
        "model.genre-cnn.stride_s",
        "model.genre-cnn.backend: unknown backend 'none'",
        "subscriber[0].kinds",
        "subscriber[0] \"console\": unknown key 'colours'",
    ]  # fmt: skip
    missing = [place for place in places if not any(problem.startswith(place) for problem in found)]
    assert missing == [], found
    unexpected = [problem for problem in found if not problem.startswith(tuple(places)) and "nam" not in problem]
    assert unexpected == [], "a mistake does not beget others"


@pytest.mark.parametrize(
    ("keys", "secret"),
    [
        ("token = 12345678", "12345678"),
        ("token = ['hunter2hunter']", "hunter2hunter"),
        ("[source.login]\nuser = 'a'\npassword = 'hunter2'", "hunter2"),
        ("[[source.logins]]\nuser = 'a'\npassword = 'hunter2'", "hunter2"),
        ("[source.tokens]\nmine = 4711471147", "4711471147"),
        ("either = {user = 'a', password = 'hunter2'}", "hunter2"),
    ],
)
def test_no_problem_shows_a_secret(problems: Any, keys: str, secret: str) -> None:
    found = problems(STATION + keys)
    assert found
    assert secret not in "".join(found)


def test_the_embedded_configuration_is_valid_and_says_what_the_documentation_says() -> None:
    settings = load_config(None)
    assert settings == parse_config(default_text(), "x")
    assert [entry.type for entry in settings.source] == ["demo"]
    assert settings.bus.publish == ("tcp://127.0.0.1:5757",)
    assert [entry.match for entry in settings.stream] == ["*"]


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("tcp://127.0.0.1:5757", True),
        ("tcp://127.9.9.9:5757", True),
        ("tcp://127.0.0.1:*", True),
        ("tcp://localhost:5757", True),
        ("tcp://lo:5757", True),
        ("tcp://[::1]:5757", True),
        ("ipc:///run/x", True),
        ("tcp://*:5757", False),
        ("tcp://*:*", False),
        ("tcp://0.0.0.0:5757", False),
        ("tcp://[::]:5757", False),
        ("tcp://10.0.0.1:5757", False),
        ("tcp://eth0:5757", False),
        ("tcp://example.org:5757", False),
        ("tcp://localhost.example.org:5757", False),
        ("tcp://127.0.0.1.example.org:5757", False),
        ("tcp://:5757", False),
    ],
)
def test_an_address_that_other_machines_reach_needs_to_be_wanted(endpoint: str, local: bool) -> None:
    text = f'[bus]\npublish = ["ipc:///run/y", "{endpoint}"]\n'
    if local:
        assert parse_config(text + DEMO, "x").bus.publish[1] == endpoint
        return

    def problems(more: str = "") -> list[str]:
        settings = parse_config(text + more + DEMO, "x")
        found = resolve(settings, components=discover().components, bundles={}).problems
        return [str(problem) for problem in found if problem.where == "bus"]

    assert len(problems()) == 1
    assert endpoint in problems()[0]
    assert "use 127.0.0.1 or ipc, or switch on [security] curve, or set insecure = true" in problems()[0]
    assert not problems("insecure = true\n")
    assert not problems("[security]\ncurve = true\n")


def test_settings_cannot_be_changed() -> None:
    settings = load_config(None)
    for table, key in [
        (settings, "bus"),
        (settings.bus, "insecure"),
        (settings.daemon, "name"),
        (settings.stream[0], "match"),
        (settings.source[0], "name"),
    ]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(table, key, "other")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(
        ConfigError, match=r"missing.toml: cannot be read: No such file.*\(streamcls config --default prints one"
    ):
        load_config(missing)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8: byte 5 is 0xe9"):
        load_config(latin)
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (5 << 20))
    with pytest.raises(ConfigError, match="has 5242880 bytes, expected at most 4194304"):
        load_config(large)
    large.unlink()
    large.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="bytes, expected at most 4194304"):
        load_config(large)


def test_problems_are_counted_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("a = 1\nb = 2\n" + DEMO, "my.toml")
    assert str(caught.value).splitlines()[0] == "my.toml: 2 problems"
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("sorce", ["source", "stream"], 'did you mean "source"?'),
        ("xyz", ["b", "a"], "known: a, b"),
        ("xyz", [], "none is known"),
    ],
)
def test_hints(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known) == hint


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ValidationError) as caught:
        StationConfig.model_validate({"url": "x", "mode": "y" * 10_000})
    (problem,) = problems_of(caught.value, StationConfig, {"url": "x", "mode": "y" * 10_000})
    assert len(str(problem)) < 200
    assert problem.where == "mode"


def test_state_dir_is_as_configured_or_as_systemd_says_or_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    def state_dir(text: str) -> Path:
        return resolve(parse_config(text + DEMO, "x"), components=registry.components, bundles={}).state_dir

    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert state_dir("") == Path("/home/me/.local/state/streamcls")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_dir("") == Path("/state/streamcls")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/streamcls:/other")
    assert state_dir("") == Path("/var/lib/streamcls")
    assert state_dir('[daemon]\nstate_dir = "~/here"\n') == Path("/home/me/here")


def test_the_first_stream_entry_that_matches_wins(registry: Registry) -> None:
    text = DEMO + "[[stream]]\nmatch = 'radio-[12]'\npriority = 1\n[[stream]]\nmatch = 'radio-*'\npriority = 2\n"
    resolved = resolve(parse_config(text, "x"), components=registry.components, bundles={})
    found = [resolved.settings_of(name) for name in ("radio-1", "radio-3", "RADIO-1", "tape")]
    assert [entry.priority if entry else None for entry in found] == [1, 2, None, None]


def test_a_json_dump_of_the_settings_is_json() -> None:
    assert json.loads(load_config(None).model_dump_json())["bus"]["publish"] == ["tcp://127.0.0.1:5757"]
