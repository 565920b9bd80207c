"""Write the manual pages streamcls(1) and streamcls.toml(5).

    python scripts/man_pages.py FOLDER

They are made of what the programs themselves go by: the tree of commands, the models of the settings, and docs/configuration.md; what
these do not say is in man_words.toml. FOLDER becomes a folder of manual pages, with ``man1`` and ``man5`` in it. They are dated by
SOURCE_DATE_EPOCH where it is set.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_origin

import click
from man_roff import Page, bold, italic, literal, prose
from man_settings import Documented, by_name, keys_of

from streamcls import __version__
from streamcls.cli.main import cli
from streamcls.config import Settings
from streamcls.plugins import discover

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamcls.plugins import Registry

Words = dict[str, Any]
HERE: Final = Path(__file__).resolve().parent
DOCUMENTATION: Final = HERE.parent / "docs" / "configuration.md"
_KINDS: Final = {
    "source": '[[source]] type = "{}"',
    "policy": '[policy.NAME] type = "{}"',
    "subscriber": '[[subscriber]] type = "{}"',
}
"""Components with settings of their own, and where these stand."""


def command_page(root: click.Command, words: Words, date: str) -> str:
    """Return streamcls(1) for a tree of commands."""
    page = Page("streamcls", 1, date, f"streamcls {__version__}", "User Commands")
    page.heading("NAME")
    page.say("streamcls \\- classify audio streams: music genre and content moderation")
    page.heading("SYNOPSIS")
    page.say(f"{bold('streamcls')} [{italic('OPTIONS')}] {italic('COMMAND')} [{italic('ARGS')}]...")
    context = click.Context(root, info_name="streamcls", **root.context_settings)
    page.heading("DESCRIPTION")
    _help(page, root)
    page.heading("OPTIONS")
    _options(page, root, context)
    page.heading("COMMANDS")
    for path, command, inner in _tree(root, context):
        page.part(path)
        page.say(f"{bold(path)} {' '.join(_piece(piece) for piece in command.collect_usage_pieces(inner))}")
        _help(page, command)
        _options(page, command, inner)
    for heading in ("EXIT STATUS", "SIGNALS", "ENVIRONMENT", "FILES"):
        page.heading(heading)
        for tag, text in words[heading].items():
            page.term((italic if heading == "FILES" else bold)(tag), prose(text))
    _see_also(page, "streamcls.toml", 5)
    return str(page)


def _tree(root: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Give every command below a group, with its full name, in order of names."""
    if not isinstance(root, click.Group):
        return
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        yield inner.command_path, command, inner
        yield from _tree(command, inner)


def _help(page: Page, command: click.Command) -> None:
    """Add a command's help; what click is told not to fill (a backspace) is an example."""
    text = (command.help or command.short_help or "").partition("\f")[0]
    for paragraph in text.split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            page.example(lines[1:])
        elif lines:
            page.paragraph(prose(" ".join(line.strip() for line in lines)))


def _options(page: Page, command: click.Command, context: click.Context) -> None:
    """Add a command's options; the one for help, which all have, stands among those of the whole alone."""
    helping = command.get_help_option(context) if context.parent is not None else None
    for parameter in command.get_params(context):
        wanted = isinstance(parameter, click.Option) and (helping is None or parameter.name != helping.name)
        record = parameter.get_help_record(context) if wanted else None
        if record is not None:
            names, text = record
            page.term(" ".join(_piece(word) for word in names.split()), prose(text))


def _piece(word: str) -> str:
    """Set one word of a usage line: options as they are typed, the rest as what stands for something."""
    text, comma = (word[:-1], ",") if word.endswith(",") else (word, "")
    return (bold(text) if text.startswith("-") else italic(text)) + comma


def settings_page(settings: type[Settings], registry: Registry, words: Words, documentation: str, date: str) -> str:
    """Return streamcls.toml(5) for the models of the settings, and those of the plugins that come with streamcls."""
    page = Page("streamcls.toml", 5, date, f"streamcls {__version__}", "File Formats")
    documented = Documented(documentation)
    page.heading("NAME")
    page.say("streamcls.toml \\- configuration of the streamcls daemon")
    page.heading("DESCRIPTION")
    page.paragraph(prose(words["description"]))
    schema = settings.model_json_schema()
    for name, field in settings.model_fields.items():
        table = _heading(name, field.annotation)
        page.heading(table)
        for sentence in documented.sentences(table):
            page.paragraph(prose(sentence))
        definition = {**_definition(schema["properties"][name], schema), "$defs": schema["$defs"]}
        rows = words.get(table, {}) | documented.rows(table)
        _keys(page, definition, rows)
    page.heading("KEYS OF PLUGINS")
    page.paragraph(prose("What each type of source, policy and subscriber takes besides, as it comes with streamcls."))
    for kind, title in _KINDS.items():
        for name, component in registry.components[kind].items():
            if name in _own(registry, kind):
                page.part(title.format(name))
                _keys(page, component.Config.model_json_schema(), {})
    page.heading("EXAMPLES")
    page.example(words["example"].splitlines())
    page.heading("FILES")
    for tag, text in words["FILES OF streamcls.toml"].items():
        page.term(italic(tag), prose(text))
    _see_also(page, "streamcls", 1)
    return str(page)


def _heading(name: str, annotation: Any) -> str:
    """Write a table as it stands in a file."""
    origin = get_origin(annotation)
    return f"[[{name}]]" if origin is tuple else f"[{name}.NAME]" if origin is dict else f"[{name}]"


def _definition(schema: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Return the definition of the table that a key of the whole file holds, alone, in a list or by name."""
    for inner in (schema.get("items"), by_name(schema), schema):
        if isinstance(inner, dict) and "$ref" in inner:
            return dict(whole["$defs"][inner["$ref"].rpartition("/")[2]])
    raise ValueError(f"no table in {schema}")


def _own(registry: Registry, kind: str) -> set[str]:
    return {
        item.name
        for record in registry.records
        if record.distribution == "streamcls"
        for item in record.provides
        if item.kind == kind
    }


def _keys(page: Page, schema: dict[str, Any], rows: Mapping[str, str]) -> None:
    for key in keys_of(schema, rows):
        default = {"": "", "required": "; required"}.get(key.default, f"; default {literal(key.default)}")
        meaning = key.meaning or "See the other keys of its table"
        page.term(f"{bold(key.name)} ({literal(key.kind)}{default})", prose(_sentence(meaning)))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ".)", "…")) else ".")


def _see_also(page: Page, name: str, section: int) -> None:
    page.heading("SEE ALSO")
    page.say(f"{bold(name)}({section}), {bold('systemctl')}(1), {bold('journalctl')}(1)")
    page.paragraph(prose("The full documentation is in the folder `share/doc/streamcls` beside the program's `bin`."))


def write_pages(folder: Path, *, documentation: Path = DOCUMENTATION) -> list[Path]:
    """Write both pages under a folder, and return where they are."""
    date = time.strftime("%Y-%m-%d", time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))
    words = tomllib.loads((HERE / "man_words.toml").read_text(encoding="utf-8"))
    pages = {
        folder / "man1" / "streamcls.1": command_page(cli, words, date),
        folder / "man5" / "streamcls.toml.5": settings_page(
            Settings, discover(), words, documentation.read_text(encoding="utf-8"), date
        ),
    }
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(pages)


def main() -> None:
    """Write them where the command line says."""
    parser = argparse.ArgumentParser(description="Write the manual pages streamcls(1) and streamcls.toml(5).")
    parser.add_argument("folder", type=Path, help="under it, man1 and man5 are made")
    parser.add_argument("--documentation", type=Path, default=DOCUMENTATION, help="docs/configuration.md")
    arguments = parser.parse_args()
    for path in write_pages(arguments.folder, documentation=arguments.documentation):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
