"""The manual pages tell of every command, option and key, and render without a word of complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import pytest
from pydantic import BaseModel

from streamcls.cli.main import cli
from streamcls.config import Settings
from streamcls.plugins import Registry, discover

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("man1/streamcls.1", "man5/streamcls.toml.5")


@pytest.fixture(scope="module")
def manuals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, ROOT / "scripts" / "man_pages.py", folder], check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def plain(path: Path) -> str:
    """Return a page's source without its marks."""
    text = path.read_text(encoding="ascii")
    text = re.sub(r"\\f[BIR]|\\:|\\&", "", text).replace("\\-", "-").replace("\\(aq", "'").replace("\\(ti", "~")
    return re.sub(r"\\\[u([0-9A-F]+)\]", lambda found: chr(int(found[1], 16)), text).replace("\\e", "\\")


def part(page: str, heading: str, mark: str = ".SS") -> str:
    """Return what stands under a heading, up to the next one."""
    assert f'\n{mark} "{heading}"\n' in page or f"\n{mark} {heading}\n" in page, f"no {heading}"
    _, _, after = page.replace(f'{mark} "{heading}"', f"{mark} {heading}").partition(f"\n{mark} {heading}\n")
    return re.split(r"\n\.S[HS] ", after)[0]


def commands(group: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Give every command below a group, leaving out what was not brought by streamcls itself."""
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if getattr(command.callback, "__module__", "").startswith("streamcls"):
                inner = click.Context(command, info_name=name, parent=context)
                yield inner.command_path, command, inner
                yield from commands(command, inner)


def test_every_command_and_option_stands_in_the_manual(manuals: Path) -> None:
    page = plain(manuals / PAGES[0])
    seen = 0
    for path, command, context in commands(cli, click.Context(cli, info_name="streamcls")):
        told = part(page, path)
        assert path in told.splitlines()[0]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                seen += 1
                for name in (*parameter.opts, *parameter.secondary_opts):
                    assert re.search(rf"^(.*, )?{re.escape(name)}\b", told, re.MULTILINE), f"{path} {name}"
            elif isinstance(parameter, click.Argument):
                assert parameter.make_metavar(context).strip("[].") in told, f"{path} {parameter.name}"
    assert seen > 80


@pytest.mark.parametrize("heading", ["EXIT STATUS", "SIGNALS", "ENVIRONMENT", "FILES", "SEE ALSO", "EXAMPLES"])
def test_the_usual_sections_are_there(manuals: Path, heading: str) -> None:
    page = plain(manuals / PAGES[heading == "EXAMPLES"])
    assert len(part(page, heading, ".SH").splitlines()) > 1


def test_every_exit_status_is_told(manuals: Path) -> None:
    told = part(plain(manuals / PAGES[0]), "EXIT STATUS", ".SH").splitlines()
    assert {"0", "1", "2", "3", "78", "130"} <= set(told)


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Give every key of a model, as it stands in the file, those of tables within it included."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        yield path
        for inner, step in tables(field.annotation):
            yield from keys(inner, f"{path}{step}.")


def tables(annotation: Any, step: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, step
    origin = getattr(annotation, "__origin__", None)
    step = ".NAME" if origin is dict else "[]" if origin in (list, tuple) else step
    for inner in get_args(annotation):
        yield from tables(inner, step)


def headings() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Settings.model_fields.items():
        ((table, step),) = tables(field.annotation)
        yield {"": f"[{name}]", ".NAME": f"[{name}.NAME]", "[]": f"[[{name}]]"}[step], table


@pytest.mark.parametrize(("heading", "table"), list(headings()), ids=str)
def test_every_key_of_the_settings_stands_in_the_manual(manuals: Path, heading: str, table: type[BaseModel]) -> None:
    told = part(plain(manuals / PAGES[1]), heading, ".SH")
    missing = [key for key in keys(table) if f"\n.TP\n{key} (" not in f"\n{told}"]
    assert missing == []
    assert "See the other keys" not in told, "a key without a meaning: give its field a description"


def test_every_key_of_our_plugins_stands_in_the_manual(manuals: Path, registry: Registry) -> None:
    page = plain(manuals / PAGES[1])
    own = {
        (item.kind, item.name)
        for record in registry.records
        if record.distribution == "streamcls"
        for item in record.provides
        if item.kind in {"source", "policy", "subscriber"}
    }
    assert len(own) > 10
    for kind, name in own:
        table = "[policy.NAME]" if kind == "policy" else f"[[{kind}]]"
        told = part(page, f"{table} type = \\(dq{name}\\(dq")
        config = registry.components[kind][name].Config
        missing = [key for key in keys(config) if f"\n.TP\n{key} (" not in f"\n{told}"]
        assert missing == [], f"{kind} {name}"


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_man_renders_a_page_without_a_warning(manuals: Path, page: str) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", manuals / page]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == ""
    assert "streamcls" in result.stdout


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_finds_nothing_to_improve_in_a_page(manuals: Path, page: str) -> None:
    command = ["mandoc", "-T", "lint", "-W", "style", manuals / page]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout + result.stderr == ""


def test_the_pages_are_the_same_each_time(manuals: Path, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "scripts" / "man_pages.py", tmp_path]
    subprocess.run(command, check=True, timeout=120, env={"SOURCE_DATE_EPOCH": "86400", "PATH": "/usr/bin:/bin"})
    for page in PAGES:
        old, new = ((folder / page).read_text(encoding="ascii").splitlines() for folder in (manuals, tmp_path))
        assert " 1970-01-02 " in new[1]
        assert old[2:] == new[2:]
