"""The container's recipe fits the rest: what it copies is let in, and it brings what an installation brings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_it_brings_the_extras_of_an_installation() -> None:
    (recipe,) = re.findall(r"^ARG EXTRAS=(.+)$", RECIPE, re.MULTILINE)
    (make,) = re.findall(r"^EXTRAS \?= (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe == make


def test_what_the_wheel_is_made_of_is_let_in() -> None:
    lines = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    setuptools = project["tool"]["setuptools"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {pattern.partition("/")[0] for patterns in setuptools["data-files"].values() for pattern in patterns}
    needed |= {folder for folder in setuptools["packages"]["find"]["where"] if folder != "."} | {"streamcls"}
    copied = set(re.findall(r"^COPY (?!--from)(\S+) ", RECIPE, re.MULTILINE)) - {"."}
    assert needed | copied <= set(let_in)
    assert all((ROOT / name).exists() for name in let_in)
    assert (ROOT / ".dockerignore").readlink() == Path(".containerignore")


def test_it_runs_without_privileges_and_is_looked_after() -> None:
    last_stage = RECIPE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last_stage, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", last_stage, re.MULTILINE)
    assert re.search(r'CMD \["streamcls", "status"\]$', last_stage, re.MULTILINE)
    assert re.search(r"^VOLUME /var/lib/streamcls$", last_stage, re.MULTILINE)
    assert "STATE_DIRECTORY=/var/lib/streamcls" in last_stage
