"""The command line, as a user runs it: real processes where the process matters, click's runner elsewhere."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click
import numpy as np
import pytest
from busside import LONG_S, event, publisher
from click.testing import CliRunner
from daemon import STREAMCLS
from pydantic import SecretStr  # noqa: TC002 - pydantic reads the annotation
from realbundle import real_bundle

from streamcls import ComponentConfig, __version__
from streamcls.cli.main import cli
from streamcls.testing import example_envelopes
from streamcls.types import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGIN = Path(__file__).parent.parent / "support" / "strange_plugin.py"


def streamcls(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STREAMCLS, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **options
    )


def write_wav(path: Path, seconds: float, rate: int = 22_050, channels: int = 1) -> Path:
    import soundfile

    n = round(seconds * rate)
    noise = np.random.default_rng(1).standard_normal((n, channels)) * 0.1
    soundfile.write(path, noise, rate, subtype="PCM_16")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text(
        f'[[source]]\nname = "station"\ntype = "demo"\n[model.m]\nbundle = "{real_bundle(tmp_path)}"\n'
        '[[stream]]\nmodels = ["m"]\npolicies = ["genre"]\n[policy.genre]\nmodels = ["m"]\nmin_duration_s = 0\n',
        encoding="utf-8",
    )
    return path


class TestHelp:
    @pytest.mark.parametrize(
        "command",
        [
            "",
            "run",
            "check",
            "config",
            "plugins",
            "models",
            "classify",
            "listen",
            "subscribe",
            "send",
            "train",
            "evaluate",
            "calibrate",
            "programme",
            "export",
            "models import",
            "models list",
        ],
    )
    def test_it_is_whole_sentences_and_fits(self, command: str) -> None:
        result = CliRunner().invoke(cli, [*command.split(), "--help"], terminal_width=80)
        assert result.exit_code == 0
        assert "..." not in result.output.partition("\n")[2], "no summary is cut off"
        assert "\b" not in result.output
        assert max(map(len, result.output.splitlines())) <= 80
        assert all(line == line.rstrip() for line in result.output.splitlines())

    def test_commands_of_plugins_stand_beside_ours(self) -> None:
        result = CliRunner().invoke(cli, ["-h"])
        listed = re.findall(r"^  ([a-z]+)  ", result.output, re.MULTILINE)
        assert listed == sorted(listed)
        assert {"run", "check", "classify", "listen", "send", "devices"} <= set(listed)

    def test_version(self) -> None:
        assert streamcls("--version").stdout == f"streamcls, version {__version__}\n"

    @pytest.mark.parametrize(
        "arguments", [["nonsense"], ["run", "a", "b"], ["listen", "--count", "0"], ["classify"], ["--what"]]
    )
    def test_wrong_usage_is_2(self, arguments: list[str]) -> None:
        result = streamcls(*arguments)
        assert result.returncode == 2
        assert "Usage:" in result.stderr
        assert "Traceback" not in result.stderr


class TestCheckAndConfig:
    def test_a_good_configuration_is_0(self, config: Path) -> None:
        result = streamcls("check", config)
        assert (result.returncode, result.stdout) == (
            0,
            f"{config}: in order (1 sources, 1 models, 1 policies, 0 subscribers)\n",
        )

    def test_all_problems_at_once_and_78(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.toml"
        path.write_text(
            '[bus]\npublish = ["tcp://0.0.0.0:1"]\n[[source]]\nname = "a"\ntype = "demo"\nsped = 3\n'
            '[[source]]\nname = "b"\ntype = "radiO"\n'
            '[[stream]]\nmodels = ["gnre-cnn"]\npolicies = []\n'
        )
        result = streamcls("check", path)
        assert result.returncode == 78
        assert result.stdout == ""
        lines = [line for line in result.stderr.splitlines() if not line.startswith("INFO: ")]
        assert lines[0] == f"{path}: 4 problems"
        assert [tuple(line.split(":")[:2]) for line in lines[1:]] == [
            ("  line 1", " bus"),
            ("  line 6", ' source[0] "a"'),
            ("  line 9", ' source[1] "b".type'),
            ("  line 11", " stream[0].models"),
        ]
        for command in (["run", path], ["config", path], ["classify", "--config", path, "x.wav"]):
            again = streamcls(*command)
            assert (again.returncode, again.stdout) == (78, ""), command
            assert f"{path}: 4 problems" in again.stderr

    def test_a_file_that_is_not_there_is_78_and_says_how_to_get_one(self, tmp_path: Path) -> None:
        result = streamcls("run", tmp_path / "none.toml")
        assert result.returncode == 78
        assert "streamcls config --default prints one to begin with" in result.stderr

    def test_the_default_can_be_printed_and_used(self, tmp_path: Path) -> None:
        text = streamcls("config", "--default").stdout
        path = tmp_path / "copy.toml"
        path.write_text(text, encoding="utf-8")
        assert streamcls("config", path).stdout == streamcls("config").stdout

    def test_config_prints_what_is_in_force(self, config: Path) -> None:
        facts = json.loads(streamcls("config", config).stdout)
        assert facts["bus"] == {
            "publish": ["tcp://127.0.0.1:5757"],
            "replay": None,
            "high_water_mark": 10_000,
            "insecure": False,
        }
        assert facts["source"] == [{"name": "station", "type": "demo", "loop": True, "speed": 1.0}]
        assert facts["policy"]["genre"]["min_duration_s"] == 0
        assert facts["policy"]["genre"]["enter"] > 0
        assert facts["model"]["m"]["backend"] == "litert"
        assert facts["model"]["m"]["stride_s"] > 0

    def test_config_masks_secrets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Secretive:
            name: ClassVar[str] = "secretive"

            class Config(ComponentConfig):
                token: SecretStr

        from streamcls.plugins import Registry

        registry = Registry()
        registry.components["source"]["secretive"] = Secretive
        monkeypatch.setattr("streamcls.plugins.discover", lambda: registry)
        path = tmp_path / "secret.toml"
        path.write_text(
            '[[source]]\nname = "a"\ntype = "secretive"\ntoken = "hunter2"\n[[stream]]\nmodels = []\npolicies = []\n'
        )
        result = CliRunner().invoke(cli, ["config", str(path)])
        assert "hunter2" not in result.output
        assert json.loads(result.output)["source"][0]["token"] == 10 * "*"


class TestListings:
    def test_plugins(self) -> None:
        result = streamcls("plugins")
        assert result.returncode == 0
        assert result.stdout.splitlines()[0].split() == ["PLUGIN", "STATUS", "PROVIDES", "FROM", "REMARK"]
        provided = {
            tuple(item.values())[:2]
            for record in json.loads(streamcls("plugins", "--json").stdout)
            for item in record["provides"]
        }
        assert {
            ("source", "demo"),
            ("source", "filetail"),
            ("policy", "genre"),
            ("backend", "litert"),
            ("subscriber", "jsonl"),
        } <= provided

    def test_a_broken_plugin_is_listed_with_its_reason_and_1(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from importlib import metadata

        installed = metadata.entry_points
        broken = metadata.EntryPoint("strange", "no_such_module", "streamcls")
        monkeypatch.setattr("streamcls.plugins.entry_points", lambda **wanted: [*installed(**wanted), broken])
        result = CliRunner().invoke(cli, ["plugins"], standalone_mode=False)
        assert result.return_value == 1
        assert re.search(
            r"^strange +broken .*ModuleNotFoundError: No module named 'no_such_module'", result.stdout, re.MULTILINE
        )

    def test_models_are_listed_and_verified(self, tmp_path: Path) -> None:
        bundle = real_bundle(tmp_path / "mine")
        good = streamcls("models", "--path", bundle.parent, "--json")
        assert bundle.name in [fact["name"] for fact in json.loads(good.stdout)]
        bad = tmp_path / "more" / "worn"
        bad.mkdir(parents=True)
        (bad / "bundle.toml").write_text("format = 1\n")
        result = streamcls("models", "--path", bad.parent)
        assert result.returncode == 1
        assert re.search(r"^worn +damaged .*" + re.escape(str(bad)), result.stdout, re.MULTILINE)


class TestClassify:
    def test_a_table_of_findings(self, config: Path, tmp_path: Path) -> None:
        song = write_wav(tmp_path / "My Song.wav", 12)
        result = streamcls("classify", song, "--config", config)
        assert result.returncode == 0, result.stderr
        head, columns, *rows = result.stdout.splitlines()
        assert head == f"{song}  (12.0 s)"
        assert columns.split() == ["FROM", "TO", "KIND", "LABEL", "PROBABILITY", "REMARK"]
        assert rows
        assert rows[0].startswith("0:00.0  ")
        assert all("genre.segment" in row for row in rows)

    def test_every_event_as_json_lines_under_a_name_of_the_bus(self, config: Path, tmp_path: Path) -> None:
        result = streamcls(
            "classify", write_wav(tmp_path / "My Song.wav", 8, 48_000, 2), "--config", config, "--format", "jsonl"
        )
        events = [json.loads(line) for line in result.stdout.splitlines()]
        assert {event["subject"] for event in events} == {"My-Song"}
        assert {event["type"] for event in events} == {
            "streamcls.stream.status",
            "streamcls.genre.window",
            "streamcls.genre.segment",
        }
        windows = [event["data"] for event in events if event["type"].endswith("window")]
        assert all(window["sample_rate"] == 48_000 and window["started_at"] is None for window in windows)
        assert events[-1]["data"] == {"state": "ended", "reason": "end of stream"}

    def test_files_that_cannot_be_read_are_named_and_the_others_are_done(self, config: Path, tmp_path: Path) -> None:
        corrupt = tmp_path / "corrupt.ogg"
        corrupt.write_bytes(b"OggS" + os.urandom(5_000))
        empty = tmp_path / "empty.wav"
        empty.write_bytes(b"")
        song = write_wav(tmp_path / "song.wav", 6)
        result = streamcls("classify", tmp_path / "none.mp3", corrupt, empty, tmp_path, song, "--config", config)
        assert result.returncode == 1
        assert f"{song}  (6.0 s)" in result.stdout
        for name in ("none.mp3: cannot be decoded: No such file", "corrupt.ogg: ", "empty.wav: ", f"{tmp_path}: "):
            assert name in result.stderr
        assert "Traceback" not in result.stderr

    def test_a_file_that_is_too_short_is_told(self, config: Path, tmp_path: Path) -> None:
        result = streamcls("classify", write_wav(tmp_path / "blip.wav", 0.2), "--config", config)
        assert result.returncode == 0
        assert re.search(r"blip.wav: 0.20 s are too short for m, whose window is [0-9.]+ s", result.stderr)

    def test_a_stream_that_no_entry_matches_is_wrong_usage(self, tmp_path: Path, config: Path) -> None:
        config.write_text(
            config.read_text(encoding="utf-8").replace("[[stream]]\n", '[[stream]]\nmatch = "radio-*"\n'),
            encoding="utf-8",
        )
        song = write_wav(tmp_path / "song.wav", 6)
        result = streamcls("classify", song, "--config", config)
        assert result.returncode == 2
        assert "no [[stream]] entry matches the stream 'song'; choose another with --stream" in result.stderr
        assert streamcls("classify", song, "--config", config, "--stream", "radio-9").returncode == 0

    def test_real_music(self, data: Path, config: Path) -> None:
        clips = sorted((data / "gtzan_full30").glob("*/*"))[:2]
        result = streamcls("classify", *clips, "--config", config)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("genre.segment") >= 2


class Publishing:
    """A publisher whose events are sent once the child has subscribed."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.endpoint = bus.endpoints[0]
        self.children: list[subprocess.Popen[str]] = []

    def child(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [*STREAMCLS, *arguments, "--from", self.endpoint]
        child = subprocess.Popen(
            command, stdout=options.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True, **options
        )
        self.children.append(child)
        return child

    def until_it_ends(self, child: subprocess.Popen[str], *events: Event) -> tuple[int, str, str]:
        """Publish the events again and again until the child has ended."""
        while child.poll() is None:
            for one in events:
                self.bus.publish(one)
            try:
                child.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        out, err = child.communicate(timeout=LONG_S)
        return child.returncode, out, err


@pytest.fixture
def publishing() -> Iterator[Publishing]:
    with publisher() as bus:
        made = Publishing(bus)
        yield made
        for child in made.children:
            if child.poll() is None:
                child.kill()
                child.communicate()


def _examples() -> list[Event]:
    """Every kind of event; the heartbeat claims no positions and no journal, since these are not the events it speaks of."""
    events = []
    for example in example_envelopes():
        data = dict(example["data"])
        if "positions" in data:
            data["positions"] = {}
            data.pop("journal", None)
        events.append(Event(example["type"].removeprefix("streamcls."), example["subject"], data, time=1e9))
    return events


class TestListen:
    def test_json_lines_are_the_events_as_they_are_on_the_wire(self, publishing: Publishing) -> None:
        code, out, err = publishing.until_it_ends(publishing.child("listen", "--json", "--count", "90"), *_examples())
        assert (code, err) == (0, "")
        events = [json.loads(line) for line in out.splitlines()]
        assert len(events) == 90
        assert all(e["epoch"] == publishing.bus.epoch and e["id"].startswith(e["epoch"]) for e in events)
        assert any(e["type"] == "streamcls.daemon.heartbeat" for e in events)

    def test_it_prints_readably_and_counts_what_it_prints(self, publishing: Publishing) -> None:
        code, out, err = publishing.until_it_ends(publishing.child("listen", "--count", "40"), *_examples())
        assert (code, err) == (0, "")
        assert len(out.splitlines()) == 40
        assert "\x1b" not in out, "no colours into a pipe"
        assert "daemon.heartbeat" not in out
        assert re.search(r"radio-1 +moderation.alert +0:00.0.0:02.0 +OPENED siren +medium, review", out)

    def test_filters(self, publishing: Publishing) -> None:
        child = publishing.child(
            "listen",
            "--json",
            "--kind",
            "moderation.alert",
            "--kind",
            "genre.s",
            "--stream",
            "radio-*",
            "--count",
            "12",
        )
        code, out, err = publishing.until_it_ends(child, *_examples(), event(0, "moderation.alert", "tape"))
        assert (code, err) == (0, "")
        events = [json.loads(line) for line in out.splitlines()]
        assert {e["type"] for e in events} == {"streamcls.moderation.alert", "streamcls.genre.segment"}
        assert {e["subject"] for e in events} == {"radio-1"}

    def test_heartbeats_are_printed_where_they_are_asked_for(self, publishing: Publishing) -> None:
        code, out, _ = publishing.until_it_ends(
            publishing.child("listen", "--kind", "daemon.heartbeat", "--count", "2"), *_examples()
        )
        assert code == 0
        assert [line.split()[2] for line in out.splitlines()] == ["daemon.heartbeat"] * 2

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupt_ends_it_with_0_and_without_a_word(self, publishing: Publishing, number: int) -> None:
        child = publishing.child("listen", "--json")
        assert child.stdout is not None
        read = threading.Thread(target=child.stdout.readline)
        read.start()
        while read.is_alive():
            publishing.bus.publish(event())
            read.join(0.05)
        child.send_signal(number)
        _, err = child.communicate(timeout=LONG_S)
        assert (child.returncode, err) == (0, "")

    def test_what_is_lost_is_said_and_makes_1(self, publishing: Publishing) -> None:
        """A daemon is restarted, and events of its beginning pass while the listener is away."""
        child = publishing.child("listen", "--json", "--count", "150")
        assert child.stdout is not None
        read = threading.Thread(target=child.stdout.readline)
        read.start()
        while read.is_alive():
            publishing.bus.publish(event())
            read.join(0.05)
        assert publishing.bus.close(LONG_S)
        with publisher(publishing.endpoint) as bus:
            for number in range(50):
                bus.publish(event(number))
            publishing.bus = bus
            code, _, err = publishing.until_it_ends(child, *[event(number) for number in range(20)])
        assert code == 1
        assert "/streamcls/test has been restarted" in err
        assert re.search(r"\d+ events were lost on the way", err)

    def test_an_address_that_is_none_is_1(self) -> None:
        result = streamcls("listen", "--from", "nonsense")
        assert result.returncode == 1
        assert (
            result.stderr
            == "streamcls: cannot connect to nonsense: Invalid argument; expected e.g. tcp://127.0.0.1:5757\n"
        )


class TestSubscribe:
    def test_jsonl_writes_what_it_is_told(self, publishing: Publishing, tmp_path: Path) -> None:
        target = tmp_path / "events.jsonl"
        child = publishing.child(
            "subscribe", "jsonl", "--set", f"path={target}", "--set", "sync=true", "--kind", "genre.window"
        )
        while not target.exists() or target.read_text(encoding="utf-8").count("\n") < 3:
            assert child.poll() is None, child.communicate()
            for one in _examples():
                publishing.bus.publish(one)
        child.terminate()
        _, err = child.communicate(timeout=LONG_S)
        assert (child.returncode, err) == (0, "")
        assert {json.loads(line)["type"] for line in target.read_text(encoding="utf-8").splitlines()} == {
            "streamcls.genre.window"
        }

    def test_console_takes_its_settings_from_a_file_and_the_command_line_wins(
        self, publishing: Publishing, tmp_path: Path
    ) -> None:
        settings = tmp_path / "console.toml"
        settings.write_text('colour = "never"\nwindows = false\nheartbeats = true\n')
        child = publishing.child("subscribe", "console", "--config", str(settings), "--set", "colour=always")
        assert child.stdout is not None
        lines: list[str] = []
        read = threading.Thread(target=lambda: lines.extend(child.stdout.readline() for _ in range(60)))  # type: ignore[union-attr]
        read.start()
        while read.is_alive():
            for one in _examples():
                publishing.bus.publish(one)
            read.join(0.05)
        child.terminate()
        child.communicate(timeout=LONG_S)
        text = "".join(lines)
        assert "\x1b[" in text
        assert "daemon.heartbeat" in text
        assert ".window" not in text

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["consol"], 2, "no subscriber 'consol': did you mean \"console\"?"),
            (["console", "--set", "colour"], 2, "--set 'colour': expected KEY=VALUE"),
            (["console", "--set", "color=never"], 78, "file: unknown key 'color' (did you mean \"colour\"?)"),
            (["console", "--set", "colour=pink"], 78, "colour: 'pink': expected 'auto', 'always' or 'never'"),
            (["jsonl", "--set", "path=/no/such/folder/x"], 78, "the folder /no/such/folder does not exist"),
            (["jsonl", "--config", "/no/such/file"], 2, "does not exist"),
        ],
    )
    def test_mistakes(self, arguments: list[str], code: int, words: str) -> None:
        result = streamcls("subscribe", *arguments)
        assert result.returncode == code
        assert words in result.stderr
        assert "Traceback" not in result.stderr


class TestBrokenPipe:
    @pytest.mark.parametrize(
        "command", [["listen", "--json"], ["listen"], ["subscribe", "console"], ["subscribe", "jsonl"]]
    )
    def test_head_ends_it_quietly(self, publishing: Publishing, command: list[str]) -> None:
        read, write = os.pipe()
        child = publishing.child(*command, stdout=write)
        os.close(write)
        with os.fdopen(read) as reader:
            lines: list[str] = []
            thread = threading.Thread(target=lambda: lines.append(reader.readline()))
            thread.start()
            while thread.is_alive():
                for one in _examples():
                    publishing.bus.publish(one)
                thread.join(0.05)
        code, _, err = publishing.until_it_ends(child, *_examples())
        assert lines[0]
        assert (code, err) == (0, "")

    @pytest.mark.parametrize("command", [["config"], ["plugins", "--json"], ["--help"], ["config", "--default"]])
    def test_nobody_who_reads_at_all(self, command: list[str]) -> None:
        read, write = os.pipe()
        os.close(read)
        result = subprocess.run(
            [*STREAMCLS, *command], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        os.close(write)
        assert result.returncode in {0, 1}
        assert [line for line in result.stderr.splitlines() if not line.startswith("INFO: ")] == []

    def test_a_daemon_whose_terminal_has_gone_runs_on(self, tmp_path: Path) -> None:
        path = tmp_path / "my.toml"
        path.write_text(
            f'[bus]\npublish = ["ipc://{tmp_path}/bus"]\n[[source]]\nname = "a"\ntype = "demo"\nspeed = 5\n'
            f'[[subscriber]]\ntype = "console"\n[[stream]]\nmodels = []\npolicies = []\n'
        )
        read, write = os.pipe()
        child = subprocess.Popen([*STREAMCLS, "run", str(path)], stdout=write, stderr=subprocess.PIPE, text=True)
        os.close(write)
        os.close(read)
        assert child.stderr is not None
        while "nobody reads standard output any more; it has ended" not in (line := child.stderr.readline()):
            assert line, "it ended"
        assert child.poll() is None
        child.terminate()
        _, err = child.communicate(timeout=LONG_S)
        assert child.returncode == 0
        assert "Broken" not in err


_FORBIDDEN = ("tensorflow", "keras", "librosa", "av", "sounddevice", "numba", "sklearn", "scipy", "matplotlib", "torch")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom streamcls.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print(','.join(sorted(set(sys.modules) & set({_FORBIDDEN!r}))), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == "\n"


def test_a_running_daemon_never_loads_what_belongs_to_training(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(
        f'[bus]\npublish = ["ipc://{tmp_path}/bus"]\n[[source]]\nname = "a"\ntype = "demo"\nspeed = 0\nloop = false\n'
        f'[[subscriber]]\ntype = "jsonl"\npath = "{tmp_path}/e"\n[model.m]\nbundle = "{real_bundle(tmp_path)}"\n'
        '[[stream]]\nmodels = ["m"]\npolicies = ["genre"]\n[policy.genre]\nmodels = ["m"]\n'
    )
    forbidden = set(_FORBIDDEN) - {"av", "sounddevice"}
    code = (
        f"import sys\nfrom streamcls.cli import main\ntry:\n    main(['run', {str(path)!r}])\n"
        "except SystemExit as end:\n    print(end.code)\n"
        f"print(','.join(sorted(set(sys.modules) & set({sorted(forbidden)!r}))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "0\n\n", result.stderr
    assert "genre.window" in (tmp_path / "e").read_text(encoding="utf-8")


def test_python_m_streamcls_is_the_command() -> None:
    assert isinstance(cli, click.Group)
    assert streamcls("--help").stdout.startswith("Usage: streamcls [OPTIONS] COMMAND")


class TestDamagedAndShort:
    @staticmethod
    def _noise(path: Path, seconds: float) -> Path:
        rate = 22_050
        samples = np.random.default_rng(3).standard_normal(int(seconds * rate)) * 3000
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.astype("<i2").tobytes())
        return path

    def test_a_short_file_says_that_nothing_held_for_long_enough(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(cli, ["classify", str(self._noise(tmp_path / "short.wav", 4.0))])
        assert result.exit_code == 0
        assert "nothing held for long enough" in result.output

    def test_a_name_with_a_colon_is_a_file_and_no_protocol(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._noise(tmp_path / "2026-11-22T08:05:06.wav", 8.0)
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(cli, ["classify", "2026-11-22T08:05:06.wav"])
        assert result.exit_code == 0, result.output
        assert "8.0 s" in result.output

    def test_a_playlist_leads_nowhere(self, tmp_path: Path) -> None:
        """What it names over the network is not fetched: nothing but files may be opened."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(0.2)
            playlist = tmp_path / "list.m3u8"
            url = f"http://127.0.0.1:{server.getsockname()[1]}/a.mp3"
            playlist.write_text(
                f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n", encoding="utf-8"
            )
            result = CliRunner().invoke(cli, ["classify", str(playlist)])
            assert "list.m3u8: cannot be decoded" in result.output
            with pytest.raises(TimeoutError):
                server.accept()
