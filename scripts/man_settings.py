"""The keys of a configuration, as the settings' models state them: kind, range, default, meaning.

Kinds, ranges and defaults come from the models alone. What a key means stands in docs/configuration.md, whose rows are tested against the
models; for a key without a row of its own, and for the keys of plugins, the models' own descriptions are taken.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = dict[str, Any]
_KINDS: Final = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}
_LONGEST_DEFAULT: Final = 60
"""Characters; a longer default would say less than none."""
_NO_SENTENCES: Final = ("|", "#")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its path under the table, what it may be, and what it means (Markdown)."""

    name: str
    kind: str
    default: str
    meaning: str


def keys_of(schema: Schema, rows: Mapping[str, str] | None = None) -> Iterator[Key]:
    """Give every key of a model, those of tables within it included.

    Parameters
    ----------
    schema
        The model's JSON Schema.
    rows
        Meanings by key, which have precedence.
    """
    yield from _keys(schema, schema.get("$defs", {}), rows or {}, "")


def _keys(table: Schema, known: Mapping[str, Schema], rows: Mapping[str, str], prefix: str) -> Iterator[Key]:
    stated = _attributes(table.get("description", ""))
    for name, schema in table.get("properties", {}).items():
        path = f"{prefix}{name}"
        meaning = rows.get(path) or schema.get("description") or stated.get(name, "")
        yield Key(path, _kind(schema, known), _default(name, schema, table), meaning)
        inner, step = _inner(schema, known)
        if inner is not None:
            yield from _keys(inner, known, rows, f"{path}{step}.")


def _resolved(schema: Schema, known: Mapping[str, Schema]) -> Schema:
    reference = schema.get("$ref", "")
    return known[reference.rpartition("/")[2]] if reference else schema


def _branches(schema: Schema) -> list[Schema]:
    branches: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or []
    return [branch for branch in branches if branch.get("type") != "null"]


def by_name(schema: Schema) -> Schema | None:
    """Return what a table of any names holds under each; None where its names are fixed."""
    for inner in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
        if isinstance(inner, dict):
            return inner
    return None


def _inner(schema: Schema, known: Mapping[str, Schema]) -> tuple[Schema | None, str]:
    """Return the table within a key, and what stands between the key and its own keys."""
    schema = _resolved(schema, known)
    if "properties" in schema:
        return schema, ""
    for branch in _branches(schema):
        found = _inner(branch, known)
        if found[0] is not None:
            return found
    if (item := by_name(schema)) is not None:
        return _inner(item, known)[0], ".NAME"
    if isinstance(schema.get("items"), dict):
        return _inner(schema["items"], known)[0], "[]"
    return None, ""


def _kind(schema: Schema, known: Mapping[str, Schema]) -> str:
    schema = _resolved(schema, known)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if branches := _branches(schema):
        return " or ".join(dict.fromkeys(_kind(branch, known) for branch in branches))
    if schema.get("type") == "array":
        item = _kind(schema["items"], known) if isinstance(schema.get("items"), dict) else ""
        return f"list: {item}" if item else "list"
    if schema.get("type") == "object":
        named = by_name(schema)
        return "table" if named is None else f"table: {_kind(named, known)} by name"
    secret = ", kept secret" if schema.get("format") == "password" else ""
    return _KINDS.get(schema.get("type", ""), "any value") + _range(schema) + secret


def _range(schema: Schema) -> str:
    parts = []
    if "exclusiveMinimum" in schema:
        parts.append(f"above {schema['exclusiveMinimum']:g}")
    if "minimum" in schema:
        parts.append(f"from {_number(schema['minimum'])}")
    if "maximum" in schema:
        parts.append(f"to {_number(schema['maximum'])}")
    if "exclusiveMaximum" in schema:
        parts.append(f"below {schema['exclusiveMaximum']:g}")
    return ", " + " ".join(parts) if parts else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _default(name: str, schema: Schema, table: Schema) -> str:
    """Return it as in a file, empty where there is none that can be shown."""
    if name in table.get("required", ()):
        return "required"
    value = schema.get("default")
    if value is None or (isinstance(value, dict) and value):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_DEFAULT else ""


def _attributes(docstring: str) -> dict[str, str]:
    """Return the meanings that the section ``Attributes`` of a docstring states, by name."""
    _, _, body = docstring.partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in body.splitlines():
        if line and not line.startswith(" "):
            if not re.fullmatch(r"\w+(, \w+)*", line):
                break
            names = line.split(", ")
        else:
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


class Documented:
    """docs/configuration.md: the sentences and the rows under each heading."""

    def __init__(self, text: str) -> None:
        self._sections = {}
        for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
            heading, _, body = part.partition("\n")
            for table in re.findall(r"`([^`]+)`", heading):
                self._sections[table] = body

    def sentences(self, table: str) -> list[str]:
        """Return the paragraphs under a heading such as ``[daemon]``, those that are tables left out."""
        paragraphs = [part.strip() for part in self._sections.get(table, "").split("\n\n")]
        return [" ".join(part.split()) for part in paragraphs if part and not part.startswith(_NO_SENTENCES)]

    def rows(self, table: str) -> dict[str, str]:
        """Return the meaning by key, of the rows that are for one key alone."""
        found = {}
        for line in self._sections.get(table, "").splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            names = re.findall(r"`([^`]+)`", cells[0]) if cells else []
            if len(names) == 1:
                key, own = names[0], table.strip("[]").partition(".")[0]
                found[key.removeprefix(f"{own}.")] = cells[-1]
        return found
