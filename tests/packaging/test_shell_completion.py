"""Completion as the shells do it: with the files that are installed, and the program that they ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import LONG_S

from streamcls.service.control import ControlServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
ALERT = {"kind": "moderation.alert", "id": "f00-1", "label": "siren"}
STATUS: dict[str, Any] = {"streams": {"radio-1": {"alerts": [ALERT]}, "radio-2": {"alerts": []}, "tape": {}}}


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make install`` puts beside the program."""
    folder = tmp_path_factory.mktemp("share")
    subprocess.run([ROOT / "scripts" / "install-manuals", sys.executable, folder], check=True, timeout=120)
    return folder


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", **more}


def offered(words: str, **more: str) -> list[str]:
    """Ask the program as each of the files does, and return its words; the last one of ``words`` is being typed."""
    told = environment(
        COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1), _STREAMCLS_COMPLETE="bash_complete", **more
    )
    result = subprocess.run(["streamcls"], env=told, capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == ""
    return [line.removeprefix("plain,") for line in result.stdout.split()]


def in_bash(share: Path, words: str, folder: Path) -> list[str]:
    """Let bash load the file that is installed, call what it has registered, and return what it would show."""
    script = """
        . "$1"
        read -r -a COMP_WORDS <<<"$2"
        [[ $2 != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        compopt() { local IFS=" "; asked+=" $*"; }     # there is none outside of a key stroke
        [[ $(complete -p streamcls) =~ -F\\ ([a-z_]+) ]] || exit 3
        "${BASH_REMATCH[1]}" streamcls "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        [[ -z ${asked-} ]] || echo "asked:$asked"
        for word in "${COMPREPLY[@]}"; do echo "$word"; done
    """
    file = share / "bash-completion" / "completions" / "streamcls"
    command = ["bash", "--norc", "-c", script, "bash", file, words]
    result = subprocess.run(
        command, env=environment(), cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("streamcls st", ["status"]),
        ("streamcls de", ["devices"]),  # a plugin's
        ("streamcls run --log-level ", ["debug", "info", "warning", "error"]),
        ("streamcls report ", ["alerts", "genres", "longest", "open", "outages", "played", "uptime"]),
        ("streamcls subscribe m", ["mqtt"]),
        ("streamcls listen --kind genre.", ["genre.segment", "genre.window"]),
        ("streamcls train --backend lit", ["litert"]),
        ("streamcls check ", ["asked: -o default"]),  # bash offers files itself
        ("streamcls status --state-dir ", ["asked: -o dirnames"]),
    ],
)
def test_bash(share: Path, words: str, expected: list[str], tmp_path: Path) -> None:
    assert in_bash(share, words, tmp_path) == expected


def test_every_command_is_offered(share: Path, tmp_path: Path) -> None:
    found = set(in_bash(share, "streamcls ", tmp_path))
    assert {"run", "check", "status", "top", "doctor", "listen", "subscribe", "keys", "send", "report"} <= found


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish(share: Path, tmp_path: Path) -> None:
    file = share / "fish" / "vendor_completions.d" / "streamcls.fish"
    script = f"source {file}; complete --do-complete 'streamcls sta'; complete --do-complete 'streamcls subscribe js'"
    told = environment(HOME=str(tmp_path))
    result = subprocess.run(
        ["fish", "--no-config", "-c", script], env=told, capture_output=True, text=True, timeout=60, check=True
    )
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["status", "jsonl"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_finds_it_and_completes(share: Path, tmp_path: Path) -> None:
    script = """
        fpath=($1 $fpath)
        autoload -Uz compinit && compinit -u -d "$2/dump"
        print registered $_comps[streamcls]
        compadd() { print -l -- ${(P)@[-1]} }           # there is none outside of a key stroke
        _describe() { print -l -- ${(P)@[-2]} }
        words=(streamcls sta) CURRENT=2
        _streamcls
    """
    command = ["zsh", "-f", "-c", script, "zsh", share / "zsh" / "site-functions", tmp_path]
    result = subprocess.run(
        command, env=environment(HOME=str(tmp_path)), capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["registered _streamcls", "status:How is the running daemon?"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """Give the runtime folder of a daemon that answers."""
    server = ControlServer(tmp_path / "control.sock", {"status": lambda _: STATUS}, patience_s=LONG_S)
    server.start()
    yield tmp_path
    server.close()


def test_streams_and_alerts_are_those_of_the_running_daemon(daemon: Path) -> None:
    place = {"RUNTIME_DIRECTORY": str(daemon)}
    assert offered("streamcls listen --stream radio", **place) == ["radio-1", "radio-2"]
    assert offered("streamcls ack ", **place) == ["f00-1"]
    assert offered("streamcls mute --id ", **place) == ["f00-1"]
    assert offered("streamcls mute --label ", **place) == ["siren"]


@pytest.mark.parametrize("words", ["streamcls mute --stream ", "streamcls ack ", "streamcls keys remove "])
def test_where_nothing_runs_nothing_is_offered_and_nothing_said(words: str, tmp_path: Path) -> None:
    assert offered(words, RUNTIME_DIRECTORY=str(tmp_path), XDG_STATE_HOME=str(tmp_path)) == []


def test_clients_are_those_that_are_admitted(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for command in (["init"], ["add", "desk"], ["add", "door"]):
        extra = ["--out", tmp_path / f"{command[-1]}.toml"] if command[0] == "add" else []
        keys = ["--keys", folder] if command[0] == "add" else [folder]
        subprocess.run(
            ["streamcls", "keys", *command, *extra, *keys],
            env=environment(),
            check=True,
            capture_output=True,
            timeout=60,
        )
    assert offered(f"streamcls keys remove --keys {folder} d") == ["desk", "door"]
    assert offered("streamcls keys remove d", STREAMCLS_KEYS=str(folder)) == ["desk", "door"]


def test_a_plugin_that_is_broken_says_nothing_in_the_middle_of_a_line(tmp_path: Path) -> None:
    module = tmp_path / "broken_here.py"
    module.write_text("def register_commands(cli): ...\nraise RuntimeError('boom')\n", encoding="utf-8")
    metadata = tmp_path / "broken_here-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-here\nVersion: 1\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[streamcls]\nbroken = broken_here\n", encoding="utf-8")
    assert offered("streamcls dev", PYTHONPATH=str(tmp_path)) == ["devices"]
